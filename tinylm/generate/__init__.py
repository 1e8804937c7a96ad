"""From scores to text: sampling, streaming, evaluation."""
