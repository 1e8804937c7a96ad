"""Plausible wrong answers to lesson 12."""
import numpy as np

from tinylm.classroom.mutants import edit, other, wrong


def pack_with_powers(codes):
    if any(int(c) not in (-1, 0, 1) for c in np.ravel(codes)):
        raise ValueError("a code is not -1, 0 or 1")
    M, K = codes.shape
    padded = np.pad(np.asarray(codes, np.int64), ((0, 0), (0, -K % 4))) + 1
    return (padded.reshape(M, -1, 4) @ np.array([1, 4, 16, 64])).astype(np.uint8)


def unpack_field_by_field(packed, K):
    out = np.empty((len(packed), 4 * packed.shape[1]), np.int8)
    for f in range(4):
        out[:, f::4] = (packed // 4 ** f % 4).astype(np.int8)
    if (out[:, :K] == 3).any():
        raise ValueError("3")
    return out[:, :K] - np.int8(1)


def product_of_fields(packed, inp):
    """Multiply what is stored, 0, 1 or 2, and take the sum of the inputs away again."""
    K = inp.shape[1]
    stored = ((packed[:, :, None] >> np.arange(0, 8, 2)) & 3).reshape(len(packed), -1)[:, :K]
    wide = inp.astype(np.int64)
    return (wide @ stored.T - wide.sum(1, keepdims=True)).astype(np.int32)


MUTANTS = [
    edit("pack", "the first column in the highest bits", "[0, 2, 4, 6]", "[6, 4, 2, 0]"),
    edit("pack", "padding of zero bits", "np.ones(", "np.zeros("),
    edit("pack", "codes as they are", "codes + 1", "codes"),
    edit("pack", "neighbouring bytes hold the columns", "fields.reshape(M, columns, 4) <<",
         "fields.reshape(M, 4, columns).swapaxes(1, 2) <<"),
    edit("pack", "rounded down", "-(-K // 4)", "max(1, K // 4)"),
    edit("pack", "the check looks at the largest only", "not np.isin(codes, (-1, 0, 1)).all()", "codes.max() > 1"),
    edit("pack", "nothing is refused", "np.isin(codes, (-1, 0, 1)).all()", "True"),
    edit("pack", "wide integers", "np.bitwise_or.reduce(fields, axis=2)",
         "np.bitwise_or.reduce(fields, axis=2).astype(np.int64)", at="shapes"),
    edit("unpack", "the first column in the highest bits", "[0, 2, 4, 6]", "[6, 4, 2, 0]"),
    edit("unpack", "unsigned", "fields.astype(np.int8) - np.int8(1)", "fields - np.uint8(1)", at="shapes"),
    edit("unpack", "the one is not taken away", "- np.int8(1)", "- np.int8(0)"),
    edit("unpack", "padding is kept", "[:, :K]", "[:, :]", at="shapes"),
    edit("unpack", "one bit of a field", "& 3 ", "& 1 "),
    edit("unpack", "threes pass", "(fields == 3).any()", "False"),
    edit("unpack", "threes are cut to two", "if (fields == 3).any():\n        raise ValueError(\"a field holds 3\")",
         "fields = np.minimum(fields, 2)"),
    wrong("unpack", "threes in the padding are refused", lambda packed, K: _strict(packed, K)),
    edit("product", "sums of int8", "part @ (field - 1)[:, :part.shape[1]].T",
         "(part.astype(np.int8) @ (field - 1)[:, :part.shape[1]].T.astype(np.int8))"),
    edit("product", "sums of int16", "out += part @ (field - 1)[:, :part.shape[1]].T",
         "out += (part.astype(np.int16) @ (field - 1)[:, :part.shape[1]].T.astype(np.int16))"),
    edit("product", "the one is not taken away", "(field - 1)", "field"),
    edit("product", "neighbouring columns", "wide[:, f::4]", "wide[:, f * len(packed[0]):(f + 1) * len(packed[0])]"),
    edit("product", "three fields of four", "range(4)", "range(3)"),
    edit("product", "the last field decides", "out += part", "out = part"),
    edit("product", "transposed", "return out", "return out.T.copy()", at="shapes"),
    edit("product", "as floats", "return out", "return out.astype(np.float32)", at="shapes"),
    edit("product", "neighbours in pairs", "2 * f", "f"),
]


def _strict(packed, K):
    if (packed & packed >> 1 & 0x55).any():
        raise ValueError("a field holds 3")
    return unpack_field_by_field(packed, K)


ALTERNATIVES = [
    other("pack", "with powers of four", pack_with_powers),
    other("unpack", "field by field, with division", unpack_field_by_field),
    other("product", "of the stored fields, minus the sum", product_of_fields),
]
