"""The main job, as ``prism-bench run``. ``python run.py --help`` lists the settings."""

from prism_bench.commands.run import main

if __name__ == "__main__":
    main()
