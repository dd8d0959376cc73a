"""Training of neural networks, the same for every family that has one.

It is thin over PyTorch and Hugging Face Accelerate. Accelerate, because it is what carries one
loop from a CPU to a GPU, to mixed precision and to several processes, and because transformers,
trl and peft, which families of texts stand on, need it anyway. What it does not give is here:
checkpoints without pickle that resume to the very same weights, batches whose content depends on
the seed and the step alone, early stopping, and an answer to a lack of memory.
"""
