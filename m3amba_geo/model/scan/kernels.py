"""Compiled kernels of the CPU scan: 16 adjacent channels at a time, one float32 vector each.

Channels are last in memory and independent of each other, so 16 of them make a vector in which
nothing is added across, while a token's `B_t` and `C_t` are scalars. The vector is an explicit type
here, not left to LLVM's loop vectoriser: it becomes AVX-512, AVX2 or NEON registers whatever the
optimiser makes of aliasing, and compiles in seconds. Of fast-math only `contract` (fused
multiply-add) is used: NaN and infinity keep their meaning, and the order of every sum is fixed.

States go four at a time (backwards two), held in registers along a block of tokens. What all states
of a token add to lies in memory that stays in the nearest cache.

All in one file because numba's disk cache watches only the file that a kernel is in. The compiled
code goes to NUMBA_CACHE_DIR if set, else beside this file, else, where that is read-only, to the
user's cache folder.

Letters: `B` batch, `H`, `W` sides, `L = H*W` tokens, `N` chunks of 16 channels, `S` states, `R`
rank of the step size, `K = 4` directions, `T` tokens of a block, `M = L/T` blocks, rounded up. S
and T are multiples of 4. All arrays are flat; their shapes: `u`, `y` (B, L, N*16); `dt` (B, L, K,
R), `B`, `C` (B, L, K, S), these three with strides of their own; `weight` (K, N, R, 16); `bias` (K,
N*16); `skip`, D summed over directions (N*16); `A2`, A log2 e (K, N, S, 16); `saved`, the states
before blocks (B, N, K, M, S, 16). `u`, `y` and `gy` may be bfloat16, passed as uint16. A gradient,
`g` before the name, has its variable's shape, after an axis where one is named.
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
_HALVES = ir.VectorType(ir.IntType(16), LANES)


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
    kind = _HALVES if array_type.dtype == types.uint16 else _FLOATS
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


@intrinsic
def _load(typing, array, index):
    """The 16 values of a flat array from an index on; bfloat16 is the upper half of a float32."""

    def emit(context, builder, signature, values):
        source = _address(context, builder, array, *values)
        if array.dtype == types.float32:
            return builder.load(source, align=4)
        bits = builder.zext(builder.load(source, align=2), _INTS)
        return builder.bitcast(builder.shl(bits, _constant(16, _INTS)), _FLOATS)

    return _lanes(array, types.intp), emit


@intrinsic
def _store(typing, array, index, value):
    """Write 16 values to a flat array from an index on; bfloat16 is rounded to nearest even."""

    def emit(context, builder, signature, values):
        target, value = _address(context, builder, array, *values[:2]), values[2]
        if array.dtype == types.float32:
            builder.store(value, target, align=4)
            return context.get_dummy_value()
        bits, half = builder.bitcast(value, _INTS), _constant(16, _INTS)
        odd = builder.and_(builder.lshr(bits, half), _constant(1, _INTS))
        rounded = builder.add(bits, builder.add(odd, _constant(0x7FFF, _INTS)))
        # Rounding up would turn some NaN into infinity or zero.
        rounded = builder.select(
            builder.fcmp_unordered("uno", value, value), _constant(0x7FC00000, _INTS), rounded
        )
        builder.store(builder.trunc(builder.lshr(rounded, half), _HALVES), target, align=2)
        return context.get_dummy_value()

    return types.void(array, types.intp, _lanes), emit


def _on_all_lanes(builder, value):
    one = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), value, _INT(0))
    return builder.shuffle_vector(one, one, _constant(0, _INTS))


@intrinsic
def _splat(typing, value):
    """One value on all 16 lanes."""

    def emit(context, builder, signature, values):
        return _on_all_lanes(builder, values[0])

    return _lanes(types.float32), emit


@intrinsic
def _spread(typing, array, index):
    """One value of a flat float32 array on all lanes. An index is not taken from the end if < 0."""

    def emit(context, builder, signature, values):
        data = context.make_array(array)(context, builder, values[0]).data
        return _on_all_lanes(builder, builder.load(builder.gep(data, [values[1]]), align=4))

    return _lanes(array, types.intp), emit


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
def _path(grid, strides, b, k, block, dt, places, rows, lows):
    """Follow direction k through a block; return the number of its tokens.

    Filled in are places (T,), where tokens lie in the images; rows (2, T), where theirs begin in B
    and C; lows (R, T), their low ranks of the step size. A block that is not full is filled up with
    tokens that can be read and mean nothing.
    """
    height, width, R, T = grid[1], grid[2], grid[5], grid[7]
    L, first = height * width, block * T
    count = min(T, L - first)
    for t in range(T):
        p = first + min(t, count - 1)
        p = L - 1 - p if k >= 2 else p  # directions 2 and 3 are reversed ...
        p = (p % height) * width + p // height if k % 2 else p  # ... and 1 and 3 go by columns
        place = b * L + p
        places[t] = place
        rows[0, t] = place * strides[2] + k * strides[3]
        rows[1, t] = place * strides[4] + k * strides[5]
        low = place * strides[0] + k * strides[1]
        for r in range(R):
            lows[r * T + t] = dt[low + r]
    return count


@njit(**_OPTIONS)
def _steps(grid, k, column, count, places, lows, u, weight, bias, raw, delta, inflow):
    """Of a block's tokens and one chunk: the step before softplus, delta, and delta * u.

    The projection to step sizes is done here, where they are used: written out they would be the
    largest array of the network, and the product of so low a rank all memory traffic.
    """
    chunks, R, T = grid[3], grid[5], grid[7]
    base = k * chunks * LANES + column
    for t in range(0, count, 4):
        s0 = s1 = s2 = s3 = _load(bias, base)
        for r in range(R):
            w = _load(weight, base * R + r * LANES)
            s0 = s0 + w * _spread(lows, r * T + t)
            s1 = s1 + w * _spread(lows, r * T + t + 1)
            s2 = s2 + w * _spread(lows, r * T + t + 2)
            s3 = s3 + w * _spread(lows, r * T + t + 3)
        _store(raw, t * LANES, s0)
        _store(raw, (t + 1) * LANES, s1)
        _store(raw, (t + 2) * LANES, s2)
        _store(raw, (t + 3) * LANES, s3)
    for t in range(count):
        step = _softplus(_load(raw, t * LANES))
        _store(delta, t * LANES, step)
        x = _load(u, places[t] * chunks * LANES + column)
        _store(inflow, t * LANES, step * x)


@njit(**_OPTIONS)
def _scan(S, decay, count, rows, delta, inflow, A2, B, C, h, out):
    """Take one chunk through a block, from the state h (S, 16), which becomes the last one."""
    out[:] = 0
    for n in range(0, S, 4):
        at, a = n * LANES, decay + n * LANES
        a0, a1 = _load(A2, a), _load(A2, a + LANES)
        a2, a3 = _load(A2, a + 2 * LANES), _load(A2, a + 3 * LANES)
        h0, h1 = _load(h, at), _load(h, at + LANES)
        h2, h3 = _load(h, at + 2 * LANES), _load(h, at + 3 * LANES)
        for t in range(count):
            i, o = rows[0, t] + n, rows[1, t] + n
            step, x = _load(delta, t * LANES), _load(inflow, t * LANES)
            h0 = _exp2(step * a0) * h0 + x * _spread(B, i)
            h1 = _exp2(step * a1) * h1 + x * _spread(B, i + 1)
            h2 = _exp2(step * a2) * h2 + x * _spread(B, i + 2)
            h3 = _exp2(step * a3) * h3 + x * _spread(B, i + 3)
            y0 = h0 * _spread(C, o) + h1 * _spread(C, o + 1)
            y1 = h2 * _spread(C, o + 2) + h3 * _spread(C, o + 3)
            _store(out, t * LANES, _load(out, t * LANES) + (y0 + y1))
        _store(h, at, h0)
        _store(h, at + LANES, h1)
        _store(h, at + 2 * LANES, h2)
        _store(h, at + 3 * LANES, h3)


@_compiled
def forward(start, stop, grid, strides, G, u, dt, weight, bias, A2, B, C, skip, y, saved):
    """Scan the chunks of samples numbered b * N + chunk in [start, stop).

    Up to G chunks of a sample go through a block before any goes on to the next: they share B_t,
    C_t and pages of memory, without which a large grid takes twice the time a token. The sum over
    directions grows in float32, in memory of the thread's own.
    The grid is (B, H, W, N, S, R, K, T), y the result; saved is empty if states are not wanted.
    """
    _, height, width, chunks, S, R, K, T = grid
    L, state, blocks = height * width, S * LANES, (height * width + T - 1) // T
    places, rows = np.empty(T, np.intp), np.empty((2, T), np.intp)
    lows = np.empty(R * T, np.float32)
    raw, delta, inflow, out = _zeros(T), _zeros(T), _zeros(T), _zeros(T)
    h, total = _zeros(G * S), _zeros(min(G, stop - start) * L)
    while start < stop:
        b, chunk = start // chunks, start % chunks
        many = min(G, stop - start, chunks - chunk)
        total[:] = 0
        for task in range(K * blocks):
            k, block = task // blocks, task % blocks
            if block == 0:
                h[:] = 0
            count = _path(grid, strides, b, k, block, dt, places, rows, lows)
            for i in range(many):
                column, decay = (chunk + i) * LANES, (k * chunks + chunk + i) * state
                mine = h[i * state : (i + 1) * state]
                if saved.size > 0:
                    at = (((start + i) * K + k) * blocks + block) * state
                    saved[at : at + state] = mine
                # fmt: off
                _steps(grid, k, column, count, places, lows,
                       u, weight, bias, raw, delta, inflow)
                _scan(S, decay, count, rows, delta, inflow, A2, B, C, mine, out)
                # fmt: on
                for t in range(count):
                    at = ((places[t] - b * L) * many + i) * LANES
                    _store(total, at, _load(total, at) + _load(out, t * LANES))
        for place in range(L):
            for i in range(many):
                here = (b * L + place) * chunks * LANES + (chunk + i) * LANES
                direct = _load(u, here) * _load(skip, (chunk + i) * LANES)
                _store(y, here, _load(total, (place * many + i) * LANES) + direct)
        start += many


@njit(**_OPTIONS)
def _replay(n, count, rows, delta, inflow, a, A2, B, h, e):
    """Fill in two states of a block, h (T+1, 2, 16), from the first, and e, exp(delta A)."""
    a0, a1, h0, h1 = _load(A2, a), _load(A2, a + LANES), _load(h, 0), _load(h, LANES)
    for t in range(count):
        i, at = rows[0, t] + n, t * 2 * LANES
        step, x = _load(delta, t * LANES), _load(inflow, t * LANES)
        e0, e1 = _exp2(step * a0), _exp2(step * a1)
        h0 = e0 * h0 + x * _spread(B, i)
        h1 = e1 * h1 + x * _spread(B, i + 1)
        _store(e, at, e0)
        _store(e, at + LANES, e1)
        _store(h, at + 2 * LANES, h0)
        _store(h, at + 3 * LANES, h1)


@njit(**_OPTIONS)
def _reverse(
    n, count, rows, g, delta, inflow, a, ga, A2, B, C, h, e,
    gh, gA, sumB, sumC, by_inflow, by_decay,
):  # fmt: skip
    """Take two states of a block backwards: `gh_t = g_t C_t + e_{t+1} gh_{t+1}`.

    Adds to the gradients of inflow and, by log2 e, of delta, and to what gB and gC sum up, (T, 2,
    16) each.
    """
    a0, a1 = _load(A2, a), _load(A2, a + LANES)
    gh0, gh1 = _load(gh, n * LANES), _load(gh, (n + 1) * LANES)
    gA0, gA1 = _load(gA, ga), _load(gA, ga + LANES)
    last = count * 2 * LANES
    h0, h1 = _load(h, last), _load(h, last + LANES)
    for t in range(count - 1, -1, -1):
        i, o, at, here = rows[0, t] + n, rows[1, t] + n, t * 2 * LANES, t * LANES
        gt, step, x = _load(g, here), _load(delta, here), _load(inflow, here)
        _store(sumC, at, _load(sumC, at) + gt * h0)
        _store(sumC, at + LANES, _load(sumC, at + LANES) + gt * h1)
        h0, h1 = _load(h, at), _load(h, at + LANES)
        gh0, gh1 = gh0 + gt * _spread(C, o), gh1 + gt * _spread(C, o + 1)
        _store(sumB, at, _load(sumB, at) + gh0 * x)
        _store(sumB, at + LANES, _load(sumB, at + LANES) + gh1 * x)
        inward = gh0 * _spread(B, i) + gh1 * _spread(B, i + 1)
        _store(by_inflow, here, _load(by_inflow, here) + inward)
        gh0, gh1 = gh0 * _load(e, at), gh1 * _load(e, at + LANES)
        x0, x1 = gh0 * h0, gh1 * h1
        _store(by_decay, here, _load(by_decay, here) + (x0 * a0 + x1 * a1))
        gA0, gA1 = gA0 + x0 * step, gA1 + x1 * step
    _store(gh, n * LANES, gh0)
    _store(gh, (n + 1) * LANES, gh1)
    _store(gA, ga, gA0)
    _store(gA, ga + LANES, gA1)


@njit(**_OPTIONS)
def _close(
    grid, b, k, column, count, places, g, raw, delta, by_inflow, by_decay, u, skip, gu, gbias, gskip
):  # fmt: skip
    """From what a block's states gave for one chunk, the gradients of u, bias and skip.

    `raw` becomes its own gradient, zero after the last token.
    """
    chunks = grid[3]
    base = (b * grid[6] + k) * chunks * LANES + column
    direct, of_bias, of_skip = _load(skip, column), _load(gbias, base), _splat(np.float32(0))
    for t in range(count):
        here, lane = places[t] * chunks * LANES + column, t * LANES
        x, step, gt = _load(u, here), _load(delta, lane), _load(g, lane)
        inward = _load(by_inflow, lane)
        gx = step * inward
        _store(gu, here, gx + _load(gu, here) if k > 0 else gx + direct * gt)
        of_skip = of_skip + gt * x
        # softplus' = sigmoid: e^x / (1 + e^x) = exp(x - softplus(x))
        slope = _exp2((_load(raw, lane) - step) * _splat(LOG2_E))
        graw = (x * inward + _load(by_decay, lane) * _splat(LN_2)) * slope
        of_bias = of_bias + graw
        _store(raw, lane, graw)
    for t in range(count, grid[7]):
        _store(raw, t * LANES, _splat(np.float32(0)))
    _store(gbias, base, of_bias)
    if k == 0:
        at = b * chunks * LANES + column
        _store(gskip, at, _load(gskip, at) + of_skip)


@njit(**_OPTIONS)
def _by_rank(grid, b, k, group, chunk, many, count, places, lows, graws, weight, gweight, gdt):
    """Of a group of chunks and a block: the gradients of the step sizes' weights and low ranks."""
    chunks, R, K, T = grid[3], grid[5], grid[6], grid[7]
    tokens = grid[0] * grid[1] * grid[2]
    zero = _splat(np.float32(0))
    for r in range(R):
        for i in range(many):
            at, mine = (((b * K + k) * chunks + chunk + i) * R + r) * LANES, i * T * LANES
            gw, g0, g1, g2 = _load(gweight, at), zero, zero, zero
            for t in range(0, count, 4):
                here = mine + t * LANES
                gw = gw + _load(graws, here) * _spread(lows, r * T + t)
                g0 = g0 + _load(graws, here + LANES) * _spread(lows, r * T + t + 1)
                g1 = g1 + _load(graws, here + 2 * LANES) * _spread(lows, r * T + t + 2)
                g2 = g2 + _load(graws, here + 3 * LANES) * _spread(lows, r * T + t + 3)
            _store(gweight, at, (gw + g0) + (g1 + g2))
        for t in range(0, count, 4):
            s0 = s1 = s2 = s3 = zero
            for i in range(many):
                here = (i * T + t) * LANES
                w = _load(weight, ((k * chunks + chunk + i) * R + r) * LANES)
                s0 = s0 + w * _load(graws, here)
                s1 = s1 + w * _load(graws, here + LANES)
                s2 = s2 + w * _load(graws, here + 2 * LANES)
                s3 = s3 + w * _load(graws, here + 3 * LANES)
            row = (group * tokens * K + k) * R + r
            # The last ones may mean nothing, and are then the last token once more: right stays.
            gdt[row + places[t + 3] * K * R] = _total(s3)
            gdt[row + places[t + 2] * K * R] = _total(s2)
            gdt[row + places[t + 1] * K * R] = _total(s1)
            gdt[row + places[t] * K * R] = _total(s0)


@_compiled
def backward(
    start, stop, grid, strides, G, gy, u, dt, weight, bias, A2, B, C, skip, saved,
    gu, gdt, gweight, gbias, gA, gB, gC, gskip,
):  # fmt: skip
    """Gradients for groups of up to G chunks, numbers b * groups + group in [start, stop).

    Blocks go last to first. In each, four states at a time are worked out again from the saved one
    and then taken backwards. The sums over channels that gB, gC and gdt need gather lane by lane
    over the chunks of a group, and across the lanes once a block; they come for every group,
    (groups, B, L, K, S or R). The gradients of parameters, zeros at first, come for every sample.
    """
    batch, height, width, chunks, S, R, K, T = grid
    L, state, vectors = height * width, S * LANES, T * LANES
    groups, blocks = (chunks + G - 1) // G, (L + T - 1) // T
    places, rows = np.empty(T, np.intp), np.empty((2, T), np.intp)
    lows, gh = np.empty(R * T, np.float32), _zeros(G * S)
    raws, deltas, inflows, gs = _zeros(G * T), _zeros(G * T), _zeros(G * T), _zeros(G * T)
    by_inflows, by_decays = _zeros(G * T), _zeros(G * T)
    e, h, sumB, sumC = _zeros(T * 2), _zeros((T + 1) * 2), _zeros(T * 2), _zeros(T * 2)
    for task in range((stop - start) * K * blocks):
        job, k, block = start + task // (K * blocks), task // blocks % K, blocks - 1 - task % blocks
        b, group = job // groups, job % groups
        chunk, many = group * G, min(G, chunks - group * G)
        if block == blocks - 1:
            gh[:] = 0
        count = _path(grid, strides, b, k, block, dt, places, rows, lows)
        by_inflows[:] = 0
        by_decays[:] = 0
        for i in range(many):
            column, mine = (chunk + i) * LANES, slice(i * vectors, (i + 1) * vectors)
            # fmt: off
            _steps(grid, k, column, count, places, lows, u, weight, bias,
                   raws[mine], deltas[mine], inflows[mine])
            # fmt: on
            for t in range(count):
                source = places[t] * chunks * LANES + column
                _store(gs, i * vectors + t * LANES, _load(gy, source))
        for n in range(0, S, 2):
            sumB[:] = 0
            sumC[:] = 0
            for i in range(many):
                mine = slice(i * vectors, (i + 1) * vectors)
                decay = (k * chunks + chunk + i) * state + n * LANES
                ga = ((b * K + k) * chunks + chunk + i) * state + n * LANES
                at = (((b * chunks + chunk + i) * K + k) * blocks + block) * state + n * LANES
                h[: 2 * LANES] = saved[at : at + 2 * LANES]
                # fmt: off
                _replay(n, count, rows, deltas[mine], inflows[mine], decay, A2, B, h, e)
                _reverse(n, count, rows, gs[mine], deltas[mine], inflows[mine],
                         decay, ga, A2, B, C, h, e, gh[i * state : (i + 1) * state], gA,
                         sumB, sumC, by_inflows[mine], by_decays[mine])
                # fmt: on
            for t in range(count):
                row = ((group * batch * L + places[t]) * K + k) * S + n
                for m in range(2):
                    gB[row + m] = _total(_load(sumB, (t * 2 + m) * LANES))
                    gC[row + m] = _total(_load(sumC, (t * 2 + m) * LANES))
        for i in range(many):
            column, mine = (chunk + i) * LANES, slice(i * vectors, (i + 1) * vectors)
            # fmt: off
            _close(grid, b, k, column, count, places, gs[mine], raws[mine], deltas[mine],
                   by_inflows[mine], by_decays[mine], u, skip, gu, gbias, gskip)
            # fmt: on
        # fmt: off
        _by_rank(grid, b, k, group, chunk, many, count, places, lows, raws, weight, gweight, gdt)
        # fmt: on
