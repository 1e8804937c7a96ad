"""The definitions: every operation in NumPy, forward and backward, written to be read.

`<op>_forward(...) -> (out, cache)` and `<op>_backward(dout, cache) -> gradients in input order`.
float64 in, float64 out.  `tinylm.kernels` holds a fast twin of each, with the same name.
"""
from .activations import (
    gelu_backward,
    gelu_forward,
    relu_backward,
    relu_forward,
    squared_relu_backward,
    squared_relu_forward,
)
from .attention import attention_backward, attention_extend, attention_forward
from .cross_entropy import (
    cross_entropy_backward,
    cross_entropy_forward,
    linear_cross_entropy,
    linear_cross_entropy_backward,
    linear_cross_entropy_forward,
)
from .decode import decode_step, pack_decode
from .decode_gpt import gpt_step, pack_gpt
from .embedding import embedding_backward, embedding_forward
from .gated_conv import gated_conv_backward, gated_conv_forward
from .glu import geglu_backward, geglu_forward, swiglu_backward, swiglu_forward
from .int8 import int8_linear, pack_int8, quantize_rows
from .layernorm import (
    headnorm_backward,
    headnorm_forward,
    layernorm_backward,
    layernorm_forward,
    rmsnorm_backward,
    rmsnorm_forward,
)
from .linear import linear_backward, linear_forward, linear_relu
from .matmul import matmul, pack
from .optimizer import adamw_step, clip_scale, global_norm
from .packed import pack_ternary, packed_bitlinear, packed_product, unpack_ternary
from .recurrence import recurrence_backward, recurrence_forward
from .residual import add, dropout_backward, dropout_forward, residual_backward, residual_forward
from .rope import rope_backward, rope_forward
from .sampling import draw_token, likeliest
from .ternary import (
    bitlinear_backward,
    bitlinear_forward,
    bitlinears_backward,
    bitlinears_forward,
    feed_forward_backward,
    feed_forward_forward,
    quantize_activations,
    ternarize,
)
from .token_shift import norm_shift_backward, norm_shift_forward, token_shift_backward, token_shift_forward

__all__ = sorted(name for name, value in globals().items() if callable(value))
