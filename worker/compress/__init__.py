"""A smaller model of a trained one: fewer layers, attention heads, feed-forward columns or words.

What is cut is cut in numpy (extra `import`); finding out what can be spared, and the training after it, need
the extra `train`.
"""
