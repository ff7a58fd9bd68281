"""Run a study on a Slurm cluster: each job is a Dask worker that makes one run at a time.

    pip install 'clipdefend[slurm]'
    python examples/launch/slurm_study.py examples/studies/small-grid.yaml --slurm-jobs 4 --cores 8 --memory 16GB

To be started where sbatch works, in a folder that the nodes share, from the environment that they use too. Workers that
a time limit ends are started again, and take up the interrupted runs; so does the same command after any stop.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from dask_jobqueue import SLURMCluster


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", help="the study's file")
    parser.add_argument("--slurm-jobs", type=int, default=2, help="runs at a time (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=1, help="of a job (default: %(default)s)")
    parser.add_argument("--memory", default="4GB", help="of a job (default: %(default)s)")
    parser.add_argument("--time", default="24:00:00", help="limit of a job (default: %(default)s)")
    parser.add_argument("--partition", help="(default: the cluster's)")
    parser.add_argument("--sbatch", action="append", default=[], help="more, such as --sbatch=--gres=gpu:1")
    args = parser.parse_args()
    with SLURMCluster(
        cores=1,  # one run at a time in a job, whatever the number of its cores
        processes=1,
        job_cpu=args.cores,
        memory=args.memory,
        walltime=args.time,
        queue=args.partition,
        python=sys.executable,
        job_extra_directives=args.sbatch,
        log_directory="slurm-logs",
    ) as cluster:
        cluster.adapt(minimum_jobs=args.slurm_jobs, maximum_jobs=args.slurm_jobs)
        words = ["study", "run", args.study, "--scheduler", cluster.scheduler_address]
        return subprocess.run([sys.executable, "-m", "clipdefend", *words], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
