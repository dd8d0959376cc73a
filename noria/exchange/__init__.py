"""What was asked and answered under one request id, whatever the model is."""
