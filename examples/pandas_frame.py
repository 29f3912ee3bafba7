"""Labels a column of a pandas data frame and counts by product.

python examples/pandas_frame.py
"""

import pandas as pd

from moodstream import Classifier

reviews = pd.DataFrame(
    {
        "product": ["kettle", "kettle", "lamp", "lamp"],
        "text": ["Boils fast, I love it.", "It broke after two days.", "Lovely warm light.", None],
    }
)

labels = Classifier().predict_frame(reviews["text"])  # one row for each text, with the same index
labelled = reviews.join(labels[["sentiment_label", "sentiment_score", "failure_reason"]])
print(labelled.groupby("product")["sentiment_label"].value_counts())
