"""Measures of forecasts, a number for each of m samples, whose mean is the metric.

``truth`` and ``prediction`` are (m, h); NaN in ``truth`` is a step that is not known and counts
nowhere. A sample of which no step is known is NaN. ``scale`` is (m,), ``intervals.scale``'s.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from noria.errors import InvalidInput
from noria.tasks.forecasting.known import mean_of_known

Array = NDArray[np.float64]


def mae(truth: Array, prediction: Array) -> Array:
    """Return the mean absolute error of each sample, (m,), in the target's unit.

    Where samples differ in known steps, the mean of samples is not that of all steps together.
    """
    return mean_of_known(np.abs(_errors(truth, prediction)))


def rmse(truth: Array, prediction: Array) -> Array:
    """Return the root of the mean squared error of each sample, (m,), in the target's unit.

    The mean of the samples' roots is at most the root of the mean over all (Jensen).
    """
    return np.sqrt(mean_of_known(_errors(truth, prediction) ** 2))


def mase(truth: Array, prediction: Array, scale: Array) -> Array:
    """Return the mean absolute scaled error of each sample, (m,).

    Hyndman and Koehler, International Journal of Forecasting 22 (2006); with the seasonal naive
    as the scale and a mean over series it is that of the M4 competition.
    """
    return mae(truth, prediction) / _positive(scale, len(truth))


def rmsse(truth: Array, prediction: Array, scale: Array) -> Array:
    """Return the root mean squared scaled error of each sample, (m,).

    As in the M5 competition (Makridakis, Spiliotis and Assimakopoulos, International Journal of
    Forecasting 38, 2022), whose ``scale`` is ``root_scale``: one root for each series.
    """
    return rmse(truth, prediction) / _positive(scale, len(truth))


def skill(truth: Array, prediction: Array, simple: Array) -> Array:
    """Return how far each sample's mean absolute error is below a simple model's, (m,), -1 to 1.

    As a share of the greater of the two: 1 - MAE / MAE of the simple model where the model is
    better, and the same with the parts exchanged, negative, where it is worse. So two models of
    which neither is better are 0 in the mean, whatever the size of a series, and no sample
    outweighs the others. Two errors of zero are 0.

    Args:
        truth: (m, h).
        prediction: The model's, (m, h).
        simple: Another model's, (m, h).
    """
    ours, theirs = mae(truth, prediction), mae(truth, simple)
    greater = np.maximum(ours, theirs)
    return (theirs - ours) / np.where(greater == 0.0, 1.0, greater)


def root_scale(histories: Array, season: int) -> Array:
    """Return the root of the mean squared seasonal difference of m histories (m, L), (m,).

    The scale of RMSSE (M5's has ``season`` 1); 0 where a history has no two values to compare.
    """
    if season < 1:
        raise InvalidInput(f"season {season} is not positive", fix="write 1 where there is none")
    return np.sqrt(
        np.nan_to_num(mean_of_known((histories[:, season:] - histories[:, :-season]) ** 2))
    )


def smape(truth: Array, prediction: Array) -> Array:
    """Return the symmetric absolute percentage error of each sample, (m,), 0 to 200.

    200 |y - f| / (|y| + |f|), as in M3 and M4 (Makridakis and Hibon, International Journal of
    Forecasting 16, 2000); two zeros are no error.
    """
    errors = np.abs(_errors(truth, prediction))
    size = np.abs(truth) + np.abs(prediction)
    return mean_of_known(200.0 * errors / np.where(size == 0.0, 1.0, size))


def pinball(truth: Array, prediction: Array, quantile: float) -> Array:
    """Return the mean pinball loss of each sample's forecast of a quantile, (m,).

    Koenker and Bassett, Econometrica 46 (1978). Half the absolute error at 0.5.

    Raises:
        InvalidInput: The quantile is not between 0 and 1.
    """
    if not 0.0 < quantile < 1.0:
        raise InvalidInput(f"quantile {quantile} is not between 0 and 1", fix="write 0.9")
    errors = _errors(truth, prediction)
    return mean_of_known(np.maximum(quantile * errors, (quantile - 1.0) * errors))


def weighted_quantile_loss(truth: Array, predictions: Mapping[float, Array]) -> Array:
    """Return the quantile loss of each sample in shares of its size, (m,), mean over quantiles.

    Twice the pinball loss over the sum of absolute values, as in GluonTS (Alexandrov and others,
    Journal of Machine Learning Research 21, 2020). There the sums run over all series before
    they are divided, so that large series weigh more; here every sample weighs the same.
    A sample of zeros alone is 0 where it was forecast exactly, else infinite.

    Raises:
        InvalidInput: There is no quantile, or one is not between 0 and 1.
    """
    if not predictions:
        raise InvalidInput("predictions: there is no quantile", fix="give one, such as 0.5")
    losses = [2.0 * pinball(truth, said, quantile) for quantile, said in predictions.items()]
    loss: Array = np.mean(losses, axis=0)
    size = mean_of_known(np.abs(truth))
    share = np.where(loss == 0.0, 0.0, np.where(np.isnan(loss), np.nan, np.inf))
    np.divide(loss, size, out=share, where=size != 0.0)
    return share


def coverage(truth: Array, low: Array, high: Array) -> Array:
    """Return the share of each sample's steps that lay in the interval, ends included, (m,)."""
    _errors(truth, low), _errors(truth, high)
    inside = ((truth >= low) & (truth <= high)).astype(np.float64)
    return mean_of_known(np.where(np.isnan(truth), np.nan, inside))


def _errors(truth: Array, prediction: Array) -> Array:
    if truth.ndim != 2 or truth.shape != prediction.shape:
        raise InvalidInput(
            f"truth {truth.shape} and prediction {prediction.shape} are not both (m, h)",
            fix="give a forecast of the same steps for each sample",
        )
    return truth - prediction


def _positive(scale: Array, samples: int) -> Array:
    if scale.shape != (samples,) or not (scale > 0.0).all():
        raise InvalidInput(
            f"scale {scale.shape} is not one positive number for each of {samples} samples",
            fix="take that of intervals.scale",
        )
    return scale
