"""What an encoder has learnt: one question, one file (`sgmim analyze NAME RUN...`)."""
