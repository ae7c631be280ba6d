#!/bin/bash
# A grid in four parts on a Slurm cluster: sbatch configs/slurm/array.sh configs/demo.yaml --out runs/price
# All parts write into one folder, which all nodes must see; whichever is last judges. A part that is preempted, or runs out of
# time, is queued again and goes on where it was. The logs lie where sbatch was called.
#SBATCH --job-name=das
#SBATCH --array=1-4
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
#SBATCH --open-mode=append
#SBATCH --output=das-%A-%a.log
# For a GPU each: #SBATCH --gpus-per-task=1

set -u

again() {  # two minutes before the time is up: end in order, and queue this part again
    kill -TERM "$run"
    wait "$run"
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
    exit 0
}

das run "$@" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --threads "${SLURM_CPUS_PER_TASK:-1}" &
run=$!
trap again TERM
wait "$run"
