from routed import routed

from baselines.routers.length import LengthRouter


def test_the_score_counts_the_agents_tokens(context, corridor_episodes):
    made = context()
    allocation = routed(LengthRouter(), corridor_episodes, made)
    ends = made.renderer.end_token_id
    for score, episode in zip(allocation.scores, corridor_episodes, strict=True):
        spoken = [label for label in made.renderer.render(episode).labels if label >= 0]
        assert score == len(spoken)
        assert spoken.count(ends) == len(episode.steps)
    assert len(set(allocation.scores)) > 1
    assert made.meter.spent.flops == 0
