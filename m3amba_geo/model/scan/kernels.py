"""Compiled kernels of the CPU scan: 16 adjacent channels at a time, one float32 vector each.

Channels are last in memory and independent of each other, so 16 of them make a vector in which nothing is
ever added across, while a token's `B_t` and `C_t` are scalars. The vector is an explicit type here, not
left to LLVM's loop vectoriser: it becomes AVX-512, AVX2 or NEON registers whatever the optimiser thinks of
aliasing, and compiles in a few seconds. Nothing but `contract` (fused multiply-add) of fast-math is used:
NaN and infinity keep their meaning, and results do not depend on the optimiser's mood.

It is all in one file because numba's disk cache watches the file of the kernel only: a change of a helper
elsewhere would go unnoticed.

Letters: `B` batch, `H`, `W` sides, `L = H*W` tokens, `N` chunks of 16 channels, `S` states, `K = 4`
directions, `T` tokens of one block. Arrays are flat; the docstrings give the shape that they are flat of.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"
# ruff: noqa: ANN001, ANN201, ANN202

import operator

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

LANES = 16
LOG2_E = np.float32(1.4426950408889634)
LN_2 = np.float32(0.6931471805599453)

_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_FLOATS, _INTS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)


class _Lanes(types.Type):
    """16 float32 in a vector register."""

    def __init__(self) -> None:
        super().__init__("float32x16")


_lanes = _Lanes()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, kind) -> None:
        super().__init__(manager, kind, _FLOATS)


def _constant(value, kind=_FLOATS):
    return ir.Constant(kind, [value] * LANES)


def _address(context, builder, array_type, array, index):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _FLOATS.as_pointer())


@intrinsic
def _load(typing, array, index):
    """The 16 values of a flat array from an index on."""

    def emit(context, builder, signature, values):
        return builder.load(_address(context, builder, array, *values), align=4)

    return _lanes(array, types.intp), emit


@intrinsic
def _store(typing, array, index, value):
    """Write 16 values to a flat array from an index on."""

    def emit(context, builder, signature, values):
        target = _address(context, builder, array, *values[:2])
        builder.store(values[2], target, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, _lanes), emit


@intrinsic
def _splat(typing, value):
    """One value on all 16 lanes."""

    def emit(context, builder, signature, values):
        one = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), values[0], _INT(0))
        return builder.shuffle_vector(one, one, _constant(0, _INTS))

    return _lanes(types.float32), emit


@intrinsic
def _total(typing, value):
    """Sum over the lanes, pairwise."""

    def emit(context, builder, signature, values):
        kind = ir.FunctionType(_FLOAT, [_FLOAT, _FLOATS])
        name = f"llvm.vector.reduce.fadd.v{LANES}f32"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        # Without leave to reassociate it would add lane after lane. The tree is the same every time.
        return builder.call(function, [ir.Constant(_FLOAT, 0.0), values[0]], fastmath=("reassoc",))

    return types.float32(_lanes), emit


@intrinsic
def _larger(typing, left, right):
    """The larger of two, lane by lane; NaN on the left stays."""

    def emit(context, builder, signature, values):
        left, right = values
        return builder.select(builder.fcmp_ordered("<", left, right), right, left)

    return _lanes(_lanes, _lanes), emit


def _arithmetic(symbol, instruction):
    @intrinsic
    def compute(typing, left, right):
        def emit(context, builder, signature, values):
            return getattr(builder, instruction)(*values, flags=("contract",))

        return _lanes(_lanes, _lanes), emit

    @overload(symbol)
    def typed(left, right):
        if left is _lanes and right is _lanes:
            return lambda left, right: compute(left, right)
        return None


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
_arithmetic(operator.truediv, "fdiv")


# 2^f on [-1/2, 1/2], relative error 1e-7, and 1 at 0, so that no decay is no decay; highest power first.
_EXP2 = (1.326472708e-3, 9.671512862e-3, 5.550733746e-2, 2.402224208e-1, 6.931469776e-1, 1.0)


@intrinsic
def _exp2(typing, value):
    """2^x for x <= 0, relative error 2e-7; below 2^-125 it stays there."""

    def emit(context, builder, signature, values):
        floor, shifter = _constant(-125.0), _constant(12582912.0)
        x = builder.select(builder.fcmp_ordered("<", values[0], floor), floor, values[0])
        # Adding 1.5 * 2^23 rounds x to a whole number and leaves that in the lowest bits of the sum ...
        shifted = builder.fadd(x, shifter)
        rest = builder.fsub(x, builder.fsub(shifted, shifter))
        power = _constant(_EXP2[0])
        for coefficient in _EXP2[1:]:
            power = builder.fmul(power, rest, flags=("contract",))
            power = builder.fadd(power, _constant(coefficient), flags=("contract",))
        # ... from where it is added to the exponent of 2^rest.
        exponent = builder.shl(builder.bitcast(shifted, _INTS), _constant(23, _INTS))
        return builder.bitcast(builder.add(builder.bitcast(power, _INTS), exponent), _FLOATS)

    return _lanes(_lanes), emit


@njit(inline="always")
def _softplus(x):
    """log(1 + e^x) = max(x, 0) + log(1 + z), z = e^-|x|, the latter as 2 artanh(z / (2 + z))."""
    zero = _splat(np.float32(0))
    z = _exp2((zero - _larger(x, zero - x)) * _splat(LOG2_E))
    s = z / (_splat(np.float32(2)) + z)
    q = s * s
    p = _splat(np.float32(0.2817833702)) * q + _splat(np.float32(0.2796060263))
    p = p * q + _splat(np.float32(0.4002491026))
    p = p * q + _splat(np.float32(0.6666631468))
    p = p * q + _splat(np.float32(2))
    return _larger(x, zero) + s * p


@njit(inline="always")
def _place(t, k, height, width):
    """Image position of token t in direction k: rows, columns, and both reversed."""
    p = height * width - 1 - t if k >= 2 else t
    return (p % height) * width + p // height if k % 2 else p


@njit(nogil=True, cache=True, boundscheck=False, error_model="numpy")
def forward(jobs, grid, u, dt, A2, B, C, D, y, saved, scratch):
    """Scan the jobs [start, stop), each one chunk of one sample, in all directions, one after the other.

    Args:
        jobs: start and stop; job = b * N + chunk.
        grid: (batch, H, W, N, S, K, T).
        u: (B, L, N*16).
        dt: (K, B, L, N*16), before softplus.
        A2: Decay times log2 e, (K, N, S, 16).
        B: (B, L, K, S).
        C: (B, L, K, S).
        D: (K, N*16).
        y: The result, (B, L, N*16).
        saved: States before every T-th token, (B, N, K, L/T rounded up, S, 16); empty if not wanted.
        scratch: (B*N, S + 3 T, 16).
    """
    batch, height, width, chunks, S, K, T = grid
    L = height * width
    channels = chunks * LANES
    tokens = np.empty(T, np.intp)
    size = (S + 3 * T) * LANES
    for job in range(jobs[0], jobs[1]):
        b, chunk = job // chunks, job % chunks
        h = job * size
        delta, inflow, out = h + S * LANES, h + (S + T) * LANES, h + (S + 2 * T) * LANES
        for k in range(K):
            scratch[h:delta] = 0
            decay = (k * chunks + chunk) * S * LANES
            skip = _load(D, k * channels + chunk * LANES)
            for first in range(0, L, T):
                count = min(T, L - first)
                if saved.size > 0:
                    at = ((job * K + k) * ((L + T - 1) // T) + first // T) * S * LANES
                    saved[at : at + S * LANES] = scratch[h:delta]
                # A pass of its own over the block, so that waiting for memory overlaps between tokens.
                for t in range(count):
                    token = b * L + _place(first + t, k, height, width)
                    tokens[t] = token
                    here = token * channels + chunk * LANES
                    x = _load(u, here)
                    step = _softplus(_load(dt, k * batch * L * channels + here))
                    _store(scratch, delta + t * LANES, step)
                    _store(scratch, inflow + t * LANES, step * x)
                    sofar = skip * x
                    if k > 0:
                        sofar = sofar + _load(y, here)
                    _store(scratch, out + t * LANES, sofar)
                for t in range(count):
                    row = (tokens[t] * K + k) * S
                    step = _load(scratch, delta + t * LANES)
                    x = _load(scratch, inflow + t * LANES)
                    sofar = _load(scratch, out + t * LANES)
                    for n in range(S):
                        decayed = _exp2(step * _load(A2, decay + n * LANES))
                        decayed = decayed * _load(scratch, h + n * LANES)
                        state = decayed + x * _splat(B[row + n])
                        _store(scratch, h + n * LANES, state)
                        sofar = sofar + state * _splat(C[row + n])
                    _store(y, tokens[t] * channels + chunk * LANES, sofar)


@njit(nogil=True, cache=True, boundscheck=False, error_model="numpy")
def backward(jobs, grid, gy, u, dt, A2, B, C, D, saved, gu, gdt, gA, gB, gC, gD, scratch):
    """Gradients of the jobs [start, stop), each one group of G chunks of one sample.

    Blocks are taken last to first. In each, the states are worked out again from the saved one; then
    `gh_t = g_t C_t + e_{t+1} gh_{t+1}` runs backwards, with `e_t = exp(delta_t A)`. The sums over channels
    that dB and dC need gather lane by lane over the chunks of the group, and across lanes once a block.

    Args:
        jobs: start and stop; job = b * groups + group.
        grid: (batch, H, W, N, S, K, T, G).
        gy: Gradient of y, (B, L, N*16).
        u: As for `forward`, like all up to saved.
        dt: (K, B, L, N*16).
        A2: (K, N, S, 16).
        B: (B, L, K, S).
        C: (B, L, K, S).
        D: (K, N*16).
        saved: (B, N, K, L/T rounded up, S, 16).
        gu: (B, L, N*16).
        gdt: (K, B, L, N*16).
        gA: (B, K, N, S, 16), for each sample, like gD.
        gB: (groups, B, L, K, S), for each group, like gC.
        gC: (groups, B, L, K, S).
        gD: (B, K, N*16).
        scratch: (jobs, (2 + 4 T) S + S + 6 T, 16).
    """
    batch, height, width, chunks, S, K, T, G = grid
    L = height * width
    channels = chunks * LANES
    groups = (chunks + G - 1) // G
    blocks = (L + T - 1) // T
    tokens = np.empty(T, np.intp)
    SV, TV = S * LANES, T * LANES
    size = (G + 1 + 4 * T) * SV + 5 * TV
    for job in range(jobs[0], jobs[1]):
        b, group = job // groups, job % groups
        gh = job * size
        H = gh + G * SV
        E = H + (T + 1) * SV
        sumB = E + T * SV
        sumC = sumB + T * SV
        delta = sumC + T * SV
        inflow, slope, ux, g = delta + TV, delta + 2 * TV, delta + 3 * TV, delta + 4 * TV
        for k in range(K):
            scratch[gh:H] = 0
            for chunk in range(group * G, min(group * G + G, chunks)):
                at = ((b * K + k) * chunks + chunk) * SV
                gA[at : at + SV] = 0
                at = (b * K + k) * channels + chunk * LANES
                gD[at : at + LANES] = 0
            for block in range(blocks - 1, -1, -1):
                first = block * T
                count = min(T, L - first)
                scratch[sumB:delta] = 0
                for t in range(count):
                    tokens[t] = b * L + _place(first + t, k, height, width)
                for chunk in range(group * G, min(group * G + G, chunks)):
                    decay = (k * chunks + chunk) * SV
                    at = ((b * chunks + chunk) * K + k) * blocks * SV + block * SV
                    scratch[H : H + SV] = saved[at : at + SV]
                    for t in range(count):
                        here = tokens[t] * channels + chunk * LANES
                        raw = _load(dt, k * batch * L * channels + here)
                        step = _softplus(raw)
                        x = _load(u, here)
                        _store(scratch, delta + t * LANES, step)
                        # sigmoid(x) = e^x / (1 + e^x) = exp(x - softplus(x))
                        _store(scratch, slope + t * LANES, _exp2((raw - step) * _splat(LOG2_E)))
                        _store(scratch, inflow + t * LANES, step * x)
                        _store(scratch, ux + t * LANES, x)
                        _store(scratch, g + t * LANES, _load(gy, here))
                    for t in range(count):
                        step = _load(scratch, delta + t * LANES)
                        x = _load(scratch, inflow + t * LANES)
                        row = (tokens[t] * K + k) * S
                        for n in range(S):
                            at = t * SV + n * LANES
                            e = _exp2(step * _load(A2, decay + n * LANES))
                            _store(scratch, E + at, e)
                            state = e * _load(scratch, H + at) + x * _splat(B[row + n])
                            _store(scratch, H + SV + at, state)
                    ga = ((b * K + k) * chunks + chunk) * SV
                    gd = (b * K + k) * channels + chunk * LANES
                    mine = gh + (chunk - group * G) * SV
                    skip = _load(D, k * channels + chunk * LANES)
                    skipped = _load(gD, gd)
                    for t in range(count - 1, -1, -1):
                        step = _load(scratch, delta + t * LANES)
                        x = _load(scratch, inflow + t * LANES)
                        gyt = _load(scratch, g + t * LANES)
                        row = (tokens[t] * K + k) * S
                        by_inflow = _splat(np.float32(0))
                        by_decay = _splat(np.float32(0))
                        for n in range(S):
                            at = t * SV + n * LANES
                            sums = _load(scratch, sumC + at) + gyt * _load(scratch, H + SV + at)
                            _store(scratch, sumC + at, sums)
                            ghn = _load(scratch, mine + n * LANES) + gyt * _splat(C[row + n])
                            _store(scratch, sumB + at, _load(scratch, sumB + at) + ghn * x)
                            by_inflow = by_inflow + ghn * _splat(B[row + n])
                            ghn = ghn * _load(scratch, E + at)
                            _store(scratch, mine + n * LANES, ghn)
                            q = ghn * _load(scratch, H + at)
                            by_decay = by_decay + q * _load(A2, decay + n * LANES)
                            _store(gA, ga + n * LANES, _load(gA, ga + n * LANES) + q * step)
                        here = tokens[t] * channels + chunk * LANES
                        x = _load(scratch, ux + t * LANES)
                        skipped = skipped + gyt * x
                        gut = step * by_inflow + skip * gyt
                        if k > 0:
                            gut = gut + _load(gu, here)
                        _store(gu, here, gut)
                        gstep = x * by_inflow + by_decay * _splat(LN_2)
                        gstep = gstep * _load(scratch, slope + t * LANES)
                        _store(gdt, k * batch * L * channels + here, gstep)
                    _store(gD, gd, skipped)
                for t in range(count):
                    row = ((group * batch * L + tokens[t]) * K + k) * S
                    for n in range(S):
                        at = t * SV + n * LANES
                        gB[row + n] = _total(_load(scratch, sumB + at))
                        gC[row + n] = _total(_load(scratch, sumC + at))
