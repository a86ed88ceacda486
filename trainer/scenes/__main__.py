"""Write a data set of person crops to shards.

    python -m trainer.scenes --data DATA --mocap CACHE --out FOLDER --samples 100000 --workers 8

Stop it at any time: started again with the same arguments it writes the shards that are missing.
"""

import argparse
from pathlib import Path

from rich.progress import Progress

from trainer.scenes.assets import data_folder
from trainer.scenes.recipe import SceneRecipe
from trainer.scenes.shards import ShardPlan, write_shards


def main() -> None:
    """Entry point of `python -m trainer.scenes`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=None, help="data folder (default: KINESTREAM_DATA)")
    parser.add_argument("--mocap", type=Path, required=True, help="cache of `python -m trainer.build_mocap`")
    parser.add_argument("--split", default="train", help="poses of this split")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--per-shard", type=int, default=1000)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jpeg-quality", type=int, default=95)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--flow-share", type=float, default=0.2, help="poses drawn from the pose flow")
    parser.add_argument("--no-photos", action="store_true", help="free panoramas as backgrounds alone")
    arguments = parser.parse_args()
    plan = ShardPlan(arguments.samples, arguments.per_shard, arguments.first_seed, arguments.jpeg_quality)
    recipe = SceneRecipe(
        data_folder(arguments.data),
        arguments.mocap,
        arguments.split,
        photos=not arguments.no_photos,
        flow_share=arguments.flow_share,
    )
    with Progress() as bar:
        task = bar.add_task("shards", total=plan.num_shards)
        write_shards(
            arguments.out, plan, recipe, workers=arguments.workers, progress=lambda _: bar.advance(task)
        )
        bar.update(task, completed=plan.num_shards)


if __name__ == "__main__":
    main()
