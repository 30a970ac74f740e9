"""Tests of uniformity and independence, and their power.

All tests are two-sided at level ``ALPHA``; about a hundred are made, so a sound generator fails
somewhere with probability 1e-4 (and seeds are fixed: it fails always or never). The ``power_*``
functions give the probability that a fault of a given size is noticed by the same test.
"""

import numpy as np
from scipy import stats

ALPHA = 1e-6
BINS = 256
Z = stats.norm.isf(ALPHA / 2)


def p_uniform(u):
    """Chi-square of draws in (0, 1) over equal bins."""
    counts = np.bincount((np.ravel(u) * BINS).astype(int), minlength=BINS)
    return stats.chisquare(counts).pvalue


def p_rate(hits, rate):
    """Exact binomial test of a share of True against ``rate``."""
    return stats.binomtest(int(np.sum(hits)), np.size(hits), rate).pvalue


def p_uncorrelated(a, b):
    """Normal test of zero correlation between paired draws (large n)."""
    a, b = np.ravel(a).astype(float), np.ravel(b).astype(float)
    return 2 * stats.norm.sf(abs(np.corrcoef(a, b)[0, 1]) * np.sqrt(len(a)))


def power_uniform(n, deviation):
    """If half of the bins are likelier by the relative ``deviation``, the others less likely."""
    edge = stats.chi2.isf(ALPHA, BINS - 1)
    return stats.ncx2.sf(edge, BINS - 1, n * deviation**2)


def power_rate(n, rate, bias):
    """If the true share is ``rate + bias``."""
    spread = np.sqrt(rate * (1 - rate) / n)
    true_spread = np.sqrt((rate + bias) * (1 - rate - bias) / n)
    return stats.norm.sf((Z * spread - abs(bias)) / true_spread)


def power_correlation(n, rho):
    """If the true correlation is ``rho`` (by Fisher's z)."""
    return stats.norm.sf(Z - np.arctanh(abs(rho)) * np.sqrt(n))
