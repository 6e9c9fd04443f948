"""What a trained model does: metrics, generation, energy, figures, the report."""
