"""Labels a Spark data frame with mapInPandas. Each Python process of Spark loads the pack once.

pip install pyspark pandas pyarrow
PYSPARK_PYTHON=$(which python) python examples/spark_map_in_pandas.py
"""

from collections.abc import Iterator

import pandas as pd
from pyspark.sql import SparkSession

from moodstream import Classifier

spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
reviews = spark.createDataFrame(
    [
        ("kettle", "Boils fast, I love it."),
        ("kettle", "It broke after two days."),
        ("lamp", "Lovely warm light."),
        ("lamp", None),
    ],
    "product string, body string",
)

classifier = Classifier(threads=1)  # Spark runs a process for each core


def label(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Add two of the columns to each batch. What Spark sends for the classifier is its path."""
    for batch in batches:
        labels = classifier.predict_frame(batch["body"])
        yield batch.join(labels[["sentiment_label", "sentiment_score"]])


schema = "product string, body string, sentiment_label string, sentiment_score double"
labelled = reviews.mapInPandas(label, schema)
labelled.groupBy("product", "sentiment_label").count().orderBy("product", "sentiment_label").show()
spark.stop()
