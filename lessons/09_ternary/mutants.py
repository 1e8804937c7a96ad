"""Plausible wrong answers to lesson 9."""
import numpy as np

from tinylm.classroom.mutants import edit, other


def ternarize_by_threshold(weight):
    scale = max(np.abs(weight).sum() / weight.size, 1e-5)
    return (weight > scale / 2).astype(int) - (weight < -scale / 2).astype(int), float(scale)


def quantize_row_by_row(inp):
    codes, scales = [], []
    for row in inp:
        top = np.abs(row).max()
        scales.append([top / 127])
        codes.append(np.rint(row * 127 / top) if top else 0 * row)
    return np.array(codes).astype(np.int64), np.array(scales)


def backward_with_einsum(dout, inp, weight):
    codes, scale = ternarize_by_threshold(weight)
    values, scales = quantize_row_by_row(inp)
    return np.einsum("nm,mk->nk", dout * scale, codes), np.einsum("nm,nk->mk", dout * scales, values)


MUTANTS = [
    edit("ternarize", "a scale for each row", "float(np.abs(weight).mean())", "float(np.abs(weight).mean(1)[0])"),
    edit("ternarize", "a column of scales", "max(float(np.abs(weight).mean()), 1e-5)",
         "np.maximum(np.abs(weight).mean(1, keepdims=True), 1e-5)", at="shapes"),
    edit("ternarize", "the mean without magnitudes", "float(np.abs(weight).mean())", "float(weight.mean())",
         at="worked case"),
    edit("ternarize", "the largest, not the mean", ".mean()", ".max()", at="worked case"),
    edit("ternarize", "the median", "float(np.abs(weight).mean())", "float(np.median(np.abs(weight)))"),
    edit("ternarize", "the standard deviation", "float(np.abs(weight).mean())", "float(weight.std())"),
    edit("ternarize", "the mean of what is not zero", "np.abs(weight).mean()",
         "np.abs(weight).sum() / max(1, np.count_nonzero(weight))"),
    edit("ternarize", "not cut", "np.clip(np.round(weight / scale), -1, 1)", "np.round(weight / scale)"),
    edit("ternarize", "signs: no zero at all", "np.round(weight / scale)", "np.sign(weight)"),
    edit("ternarize", "rounded towards zero", "np.round(weight", "np.trunc(weight"),
    edit("ternarize", "halves go up", "np.round(weight / scale)", "np.floor(weight / scale + 0.5)", at="worked case"),
    edit("ternarize", "away from zero", "np.round(weight / scale)",
         "np.sign(weight) * np.ceil(np.abs(weight) / scale)"),
    edit("ternarize", "0 and 1 only", "-1, 1)", "0, 1)"),
    edit("ternarize", "without the lower limit", ", 1e-5)", ", 0.0)", at="worked case"),
    edit("ternarize", "a lower limit that is felt", "1e-5", "1e-1"),
    edit("ternarize", "a fixed scale", "max(float(np.abs(weight).mean()), 1e-5)", "1.0", at="worked case"),
    edit("ternarize", "codes times scale", "codes.astype(np.int8)", "codes * scale", at="shapes"),
    edit("quantize_activations", "one scale for all tokens", "np.abs(inp).max(axis=1, keepdims=True)",
         "np.abs(inp).max() + 0 * inp[:, :1]"),
    edit("quantize_activations", "the maximum without magnitudes", "np.abs(inp).max", "inp.max"),
    edit("quantize_activations", "the mean, not the maximum", ".max(axis=1", ".mean(axis=1"),
    edit("quantize_activations", "128", "/ 127", "/ 128"),
    edit("quantize_activations", "255 steps", "/ 127", "/ 255"),
    edit("quantize_activations", "rounded down", "np.round(inp", "np.floor(inp"),
    edit("quantize_activations", "a lower limit, as for weights", "/ 127", "/ 127 + 1e-5", at="worked case"),
    edit("quantize_activations", "a token of zeros gets ones", "inp / np.where", "(inp + (scale == 0)) / np.where",
         at="worked case"),
    edit("quantize_activations", "a row of scales", ".astype(np.int8), scale", ".astype(np.int8), scale[:, 0]",
         at="shapes"),
    edit("quantize_activations", "a scale for each channel", "axis=1, keepdims=True", "axis=0, keepdims=True",
         at="shapes"),
    edit("quantize_activations", "the reciprocal of the scale", ".astype(np.int8), scale",
         ".astype(np.int8), 1 / np.maximum(scale, 1e-9)"),
    edit("bitlinear_backward", "with the float weights", "(codes * scale)", "weight"),
    edit("bitlinear_backward", "with the float inputs", "(inp_codes * inp_scale)", "inp"),
    edit("bitlinear_backward", "the scale forgotten", "(codes * scale)", "codes", at="worked case"),
    edit("bitlinear_backward", "the scales of the tokens forgotten", "(inp_codes * inp_scale)", "inp_codes"),
    edit("bitlinear_backward", "the scale in dweight, too", "(inp_codes * inp_scale)",
         "(inp_codes * inp_scale) * scale"),
    edit("bitlinear_backward", "nothing for weights with code 0", "return dinp, dweight",
         "return dinp, dweight * (codes != 0)", at="worked case"),
    edit("bitlinear_backward", "nothing for large weights", "return dinp, dweight",
         "return dinp, dweight * (np.abs(weight) <= 2 * scale)"),
    edit("bitlinear_backward", "the real slope of a rounding: zero", "return dinp, dweight",
         "return dinp, np.zeros_like(dweight)"),
    edit("bitlinear_backward", "the mean over tokens", "return dinp, dweight", "return dinp, dweight / len(dout)"),
    edit("bitlinear_backward", "dweight transposed", "return dinp, dweight", "return dinp, dweight.T", at="shapes"),
    edit("bitlinear_backward", "upstream ignored", "dinp = dout @", "dinp = np.ones_like(dout) @"),
    edit("bitlinear_backward", "the input's own rounding stops the slope", "return dinp, dweight",
         "return dinp * (inp_codes != 0), dweight"),
]

ALTERNATIVES = [
    other("ternarize", "by thresholds at half the scale", ternarize_by_threshold),
    other("quantize_activations", "row by row", quantize_row_by_row),
    other("bitlinear_backward", "with einsum, scales moved to the slopes", backward_with_einsum),
]
