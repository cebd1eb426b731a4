"""Functions of this program that the model may call: their schemas, their calls, and the way on from their results."""
