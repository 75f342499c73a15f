"""Compiled kernels of the CPU scan: 16 adjacent channels at a time, one float32 vector each.

Channels are last in memory and independent of each other, so 16 of them make a vector in which
nothing is added across, while a token's `B_t` and `C_t` are scalars. The vector is an explicit type
here, not left to LLVM's loop vectoriser: it becomes AVX-512, AVX2 or NEON registers whatever the
optimiser makes of aliasing, and compiles in seconds. Of fast-math only `contract` (fused
multiply-add) is used: NaN and infinity keep their meaning, and the order of every sum is fixed.

All in one file because numba's disk cache watches only the file that a kernel is in. The compiled
code goes to NUMBA_CACHE_DIR if set, else beside this file, else, where that is read-only, to the
user's cache folder.

Letters: `B` batch, `H`, `W` sides, `L = H*W` tokens, `N` chunks of 16 channels, `S` states, `K = 4`
directions, `T` tokens of a block, `M = L/T` blocks, rounded up. All arrays are flat; their shapes:
`u`, `y` (B, L, N*16); `dt`, not yet softplus (K, B, L, N*16); `A2`, A log2 e (K, N, S, 16);
`B`, `C` (B, L, K, S); `D` (K, N*16); `saved`, the states before blocks (B, N, K, M, S, 16).
A gradient, `g` before the name, has its variable's shape, after an axis where one is named.
"""

# mypy: ignore-errors
# (what numba compiles is typed by numba)
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

_OPTIONS = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
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
        # Without `reassoc` it would add lane after lane. The tree is the same every time.
        return builder.call(function, [ir.Constant(_FLOAT, 0.0), values[0]], fastmath=("reassoc",))

    return types.float32(_lanes), emit


def _binary(symbol, build):
    @intrinsic
    def compute(typing, left, right):
        def emit(context, builder, signature, values):
            return build(builder, *values)

        return _lanes(_lanes, _lanes), emit

    @overload(symbol)
    def typed(left, right):
        if left is _lanes and right is _lanes:
            return lambda left, right: compute(left, right)
        return None


def _larger(builder, left, right):
    """Lane by lane; NaN on the left stays."""
    return builder.select(builder.fcmp_ordered("<", left, right), right, left)


_FUSED = {"flags": ("contract",)}
_binary(operator.add, lambda builder, left, right: builder.fadd(left, right, **_FUSED))
_binary(operator.sub, lambda builder, left, right: builder.fsub(left, right, **_FUSED))
_binary(operator.mul, lambda builder, left, right: builder.fmul(left, right, **_FUSED))
_binary(operator.truediv, lambda builder, left, right: builder.fdiv(left, right))
_binary(max, _larger)


# 2^f on [-1/2, 1/2], relative error 1e-7, exact at 0: no decay is none. Highest power first.
_EXP2 = (1.326472708e-3, 9.671512862e-3, 5.550733746e-2, 2.402224208e-1, 6.931469776e-1, 1.0)


@intrinsic
def _exp2(typing, value):
    """2^x for x <= 0, relative error 2e-7; below 2^-125 it stays there."""

    def emit(context, builder, signature, values):
        floor, shifter = _constant(-125.0), _constant(12582912.0)
        x = _larger(builder, values[0], floor)
        # Adding 1.5 * 2^23 rounds x to an integer and leaves that in the lowest bits of the sum ...
        shifted = builder.fadd(x, shifter)
        rest = builder.fsub(x, builder.fsub(shifted, shifter))
        power = _constant(_EXP2[0])
        for coefficient in _EXP2[1:]:
            power = builder.fmul(power, rest, **_FUSED)
            power = builder.fadd(power, _constant(coefficient), **_FUSED)
        # ... from where it is added to the exponent of 2^rest.
        exponent = builder.shl(builder.bitcast(shifted, _INTS), _constant(23, _INTS))
        return builder.bitcast(builder.add(builder.bitcast(power, _INTS), exponent), _FLOATS)

    return _lanes(_lanes), emit


@njit(inline="always")
def _softplus(x):
    """log(1 + e^x) = max(x, 0) + log(1 + z), z = e^-|x|, the latter as 2 artanh(z / (2 + z))."""
    zero = _splat(np.float32(0))
    z = _exp2((zero - max(x, zero - x)) * _splat(LOG2_E))
    s = z / (_splat(np.float32(2)) + z)
    q = s * s
    p = _splat(np.float32(0.2817833702)) * q + _splat(np.float32(0.2796060263))
    p = p * q + _splat(np.float32(0.4002491026))
    p = p * q + _splat(np.float32(0.6666631468))
    p = p * q + _splat(np.float32(2))
    return max(x, zero) + s * p


def _compiled(function):
    """Compile to a kernel kept on disk, or, where numba finds no folder to write to, in memory."""
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        return njit(**_OPTIONS)(function)


@njit(**_OPTIONS)
def _zeros(vectors):
    """Memory for vectors, aligned to them: one that straddles two cache lines costs double."""
    memory = np.zeros((vectors + 1) * LANES, np.float32)
    start = (-(memory.ctypes.data // 4)) % LANES
    return memory[start : start + vectors * LANES]


@njit(**_OPTIONS)
def _steps(grid, b, k, first, column, u, dt, tokens, delta, inflow):
    """Of a block's tokens: place, delta and delta * u. Before the scan, so that loads overlap."""
    batch, height, width, chunks, _, _, T = grid
    L = height * width
    count = min(T, L - first)
    for t in range(count):
        p = L - 1 - first - t if k >= 2 else first + t  # directions 2 and 3 are reversed ...
        place = (p % height) * width + p // height if k % 2 else p  # ... and 1 and 3 go by columns
        tokens[t] = b * L + place
        here = tokens[t] * chunks * LANES + column
        step = _softplus(_load(dt, k * batch * L * chunks * LANES + here))
        _store(delta, t * LANES, step)
        _store(inflow, t * LANES, step * _load(u, here))
    return count


@njit(**_OPTIONS)
def _scan(count, k, column, decay, grid, tokens, delta, inflow, u, A2, B, C, D, y, h):
    """Take one chunk through a block, from the state h (S, 16), which becomes the last one."""
    chunks, S, K = grid[3], grid[4], grid[5]
    skip = _load(D, k * chunks * LANES + column)
    for t in range(count):
        here = tokens[t] * chunks * LANES + column
        row = (tokens[t] * K + k) * S
        step, x = _load(delta, t * LANES), _load(inflow, t * LANES)
        out = skip * _load(u, here)
        if k > 0:
            out = out + _load(y, here)
        for n in range(S):
            e = _exp2(step * _load(A2, decay + n * LANES))
            state = e * _load(h, n * LANES) + x * _splat(B[row + n])
            _store(h, n * LANES, state)
            out = out + state * _splat(C[row + n])
        _store(y, here, out)


@_compiled
def forward(start, stop, grid, G, u, dt, A2, B, C, D, y, saved):
    """Scan the chunks of samples numbered b * N + chunk in [start, stop).

    Up to G chunks of a sample go through a block before any goes on to the next: they share B_t,
    C_t and pages of memory, without which a large grid takes twice the time a token.
    The grid is (B, H, W, N, S, K, T), y the result; saved is empty if states are not wanted.
    """
    _, height, width, chunks, S, K, T = grid
    L, state = height * width, S * LANES
    tokens, delta, inflow, h = np.empty(T, np.intp), _zeros(T), _zeros(T), _zeros(G * S)
    while start < stop:
        b, many = start // chunks, min(G, stop - start, chunks - start % chunks)
        for k in range(K):
            h[:] = 0
            for first in range(0, L, T):
                for i in range(many):
                    job, chunk = start + i, start % chunks + i
                    column, decay = chunk * LANES, (k * chunks + chunk) * state
                    mine = h[i * state : (i + 1) * state]
                    if saved.size > 0:
                        at = ((job * K + k) * ((L + T - 1) // T) + first // T) * state
                        saved[at : at + state] = mine
                    count = _steps(grid, b, k, first, column, u, dt, tokens, delta, inflow)
                    # fmt: off
                    _scan(count, k, column, decay, grid, tokens, delta, inflow,
                          u, A2, B, C, D, y, mine)
                    # fmt: on
        start += many


@njit(**_OPTIONS)
def _replay(count, k, decay, grid, tokens, delta, inflow, A2, B, e, h):
    """Fill in the states of a block, h (T+1, S, 16), from the first, and e, exp(delta A)."""
    S, K = grid[4], grid[5]
    for t in range(count):
        row = (tokens[t] * K + k) * S
        step, x = _load(delta, t * LANES), _load(inflow, t * LANES)
        for n in range(S):
            at = (t * S + n) * LANES
            et = _exp2(step * _load(A2, decay + n * LANES))
            _store(e, at, et)
            _store(h, at + S * LANES, et * _load(h, at) + x * _splat(B[row + n]))


@njit(**_OPTIONS)
def _reverse(t, row, decay, S, g, step, x, A2, B, C, e, h, gh, gA, ga, sumB, sumC):
    """Take one token backwards; return the gradients of inflow and, by log2 e, of delta."""
    by_inflow = by_decay = _splat(np.float32(0))
    for n in range(S):
        lane, at = n * LANES, (t * S + n) * LANES
        _store(sumC, at, _load(sumC, at) + g * _load(h, at + S * LANES))
        ght = _load(gh, lane) + g * _splat(C[row + n])
        _store(sumB, at, _load(sumB, at) + ght * x)
        by_inflow = by_inflow + ght * _splat(B[row + n])
        ght = ght * _load(e, at)
        _store(gh, lane, ght)
        by_exponent = ght * _load(h, at)
        by_decay = by_decay + by_exponent * _load(A2, decay + lane)
        _store(gA, ga + lane, _load(gA, ga + lane) + by_exponent * step)
    return by_inflow, by_decay


@_compiled
def backward(start, stop, grid, G, gy, u, dt, A2, B, C, D, saved, gu, gdt, gA, gB, gC, gD):
    """Gradients for groups of up to G chunks, numbers b * groups + group in [start, stop).

    Blocks go last to first. In each, the states are worked out again from the saved one, then
    `gh_t = g_t C_t + e_{t+1} gh_{t+1}` runs backwards. The sums over channels that gB and gC need
    gather lane by lane over the chunks of a group, and across the lanes once a block; they come
    for every group, (groups, B, L, K, S). gA and gD, zeros at first, come for every sample.
    """
    batch, height, width, chunks, S, K, T = grid
    L, channels, state = height * width, chunks * LANES, S * LANES
    groups, blocks = (chunks + G - 1) // G, (L + T - 1) // T
    tokens, delta, inflow = np.empty(T, np.intp), _zeros(T), _zeros(T)
    e, h, sumB, sumC = _zeros(T * S), _zeros((T + 1) * S), _zeros(T * S), _zeros(T * S)
    gh = _zeros(G * S)
    for task in range((stop - start) * K * blocks):
        job, k, block = start + task // (K * blocks), task // blocks % K, blocks - 1 - task % blocks
        b, group = job // groups, job % groups
        if block == blocks - 1:
            gh[:] = 0
        sumB[:] = 0
        sumC[:] = 0
        count = 0
        for chunk in range(group * G, min(group * G + G, chunks)):
            column, decay = chunk * LANES, (k * chunks + chunk) * state
            count = _steps(grid, b, k, block * T, column, u, dt, tokens, delta, inflow)
            at = (((b * chunks + chunk) * K + k) * blocks + block) * state
            h[:state] = saved[at : at + state]
            _replay(count, k, decay, grid, tokens, delta, inflow, A2, B, e, h)
            mine = gh[(chunk - group * G) * state : (chunk - group * G + 1) * state]
            ga, gd = b * K * chunks * state + decay, (b * K + k) * channels + column
            skip = _load(D, k * channels + column)
            for t in range(count - 1, -1, -1):
                here = tokens[t] * channels + column
                there = k * batch * L * channels + here
                g, x, step = _load(gy, here), _load(u, here), _load(delta, t * LANES)
                by_inflow, by_decay = _reverse(
                    t, (tokens[t] * K + k) * S, decay, S, g, step, _load(inflow, t * LANES),
                    A2, B, C, e, h, mine, gA, ga, sumB, sumC,
                )  # fmt: skip
                _store(gD, gd, _load(gD, gd) + g * x)
                gx = step * by_inflow + skip * g
                _store(gu, here, gx + _load(gu, here) if k > 0 else gx)
                # softplus' = sigmoid: e^x / (1 + e^x) = exp(x - softplus(x))
                slope = _exp2((_load(dt, there) - step) * _splat(LOG2_E))
                _store(gdt, there, (x * by_inflow + by_decay * _splat(LN_2)) * slope)
        for t in range(count):
            row = ((group * batch * L + tokens[t]) * K + k) * S
            for n in range(S):
                gB[row + n] = _total(_load(sumB, (t * S + n) * LANES))
                gC[row + n] = _total(_load(sumC, (t * S + n) * LANES))
