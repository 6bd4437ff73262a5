"""What plugins of the agent runner import."""
