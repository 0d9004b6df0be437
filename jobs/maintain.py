"""The maintain job: compact tables, delete what nothing reads, check keys.

spark-submit jobs/maintain.py --conf FILE [--set a.b=c]
"""

from vlm4rec_spark.cli import run_job

if __name__ == "__main__":
    run_job("maintain")
