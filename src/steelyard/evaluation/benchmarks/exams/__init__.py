"""Exams of multiple-choice questions: TMMLU+, TMLU, AstroMLab-1, and how tokenizers fare on their languages."""
