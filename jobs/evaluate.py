"""The evaluation: compare arms on what users did later; writes metrics and a report.

spark-submit jobs/evaluate.py --conf FILE [--set a.b=c]
"""

from vlm4rec_spark.cli import run_job

if __name__ == "__main__":
    run_job("evaluate")
