"""What training and measuring the learned filter share: observed motion and its rollout."""
