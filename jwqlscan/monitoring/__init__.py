"""What monitoring systems read: the check, the metrics, notifications."""
