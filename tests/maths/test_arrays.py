"""What the checks of incoming arrays accept, refuse and return."""

import numpy as np
import pytest

from spillover.maths.arrays import codes, matrix, unit, vector


def test_vector_keeps_missing_and_refuses_infinity_and_shape() -> None:
    assert np.isnan(vector("x", [1.0, None, 3.0])[1])
    with pytest.raises(ValueError, match="infinite"):
        vector("x", [np.inf])
    with pytest.raises(ValueError, match="one-dimensional, got shape"):
        vector("x", [[1.0]])
    with pytest.raises(ValueError, match="3 entries like the others, got 2"):
        vector("x", [1, 2], 3)


def test_matrix_names_the_first_row_with_nan() -> None:
    with pytest.raises(ValueError, match="NaN in 1 rows, first in row 1"):
        matrix("x", [[1.0], [np.nan]])
    assert matrix("x", [[np.nan]], missing=True).shape == (1, 1)
    with pytest.raises(ValueError, match="infinite"):
        matrix("x", [[np.inf]])
    with pytest.raises(ValueError, match="two-dimensional"):
        matrix("x", [1.0])


@pytest.mark.parametrize("labels", [["a", None], [1.0, float("nan")], np.array(["a", float("nan")], dtype=object)])
def test_a_missing_label_is_refused(labels: object) -> None:
    with pytest.raises(ValueError, match="lacks a label in row 1"):
        codes("family", labels, 2)


def test_codes_do_not_depend_on_the_kind_of_label() -> None:
    for labels in (["b", "a", "b"], [2, 1, 2], np.array(["b", "a", "b"], dtype=object)):
        assert codes("family", labels, 3)[0].tolist() == [1, 0, 1]


def test_a_zero_vector_has_no_direction() -> None:
    assert np.isnan(unit(np.zeros((1, 3)))).all()
    assert np.allclose(np.linalg.norm(unit(np.ones((2, 3))), axis=1), 1)
