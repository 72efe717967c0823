"""The papers' tables: what their rows are, what was published, and how to make them at each scale.

NAME.yaml (reproduction.py reads it):
  title, source          what it is, and where it was published
  columns                scores, by name: head, of (the step that makes it), better, published_as
  rows                   by name: label; published, by column; options, added to the pre-training;
                         arm, the name its runs go by, where rows of several tables are one
  claims                 one row is said to be better than another, by a column
  scales                 tiny, small, full: steps, seeds, differs, needs
"""
