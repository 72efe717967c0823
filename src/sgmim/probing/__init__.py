"""What frozen features say without fine-tuning: linear probes and nearest neighbors."""
