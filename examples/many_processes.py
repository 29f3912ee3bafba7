"""Labels texts in several processes, each of which loads the pack once.

One process with threads is enough for one machine: use processes where the rest of the work is in Python.

    python examples/many_processes.py
"""

from concurrent.futures import ProcessPoolExecutor

from moodstream import Classifier, Prediction


def share_of_positive(classifier: Classifier, reviews: list[str]) -> float:
    """The part of a process: prepare the texts, label them, and reduce the results."""
    results = classifier.classify(" ".join(review.split()) for review in reviews)
    labels = [result.heads["sentiment"].label for result in results if isinstance(result, Prediction)]
    return labels.count("positive") / len(labels)


def main() -> None:
    """Give each process a list after another."""
    lists = [
        ["Boils fast, I love it.", "It broke   after two days."],
        ["Lovely warm light.", "Great, and cheap too."],
    ]
    classifier = Classifier(threads=1)  # what is sent to the processes is its path
    with ProcessPoolExecutor(max_workers=2) as pool:
        for share in pool.map(share_of_positive, [classifier] * len(lists), lists):
            print(f"{share:.0%} positive")


if __name__ == "__main__":
    main()
