"""What each check of the doctor finds."""
