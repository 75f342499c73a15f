"""Triton kernels of the CUDA scan: one warp takes 32 channels along a span of tokens.

A tile of state has the states first and 32 adjacent channels last, which Triton lays out as one
channel to a thread with all its states in registers. So nothing moves between threads except in
the sums over channels that gB and gC need, and loads of u and dt are contiguous.

Tokens of a direction are cut into spans, each taken by its own program, if there are too few
channels and samples to fill the chip. `summarise` first leaves what every span makes of an empty
state, `carry` turns that into the states before each span, from where `walk` or `reverse` goes on.
With a single span the first two are not needed. `walk` and `reverse` are launched once a direction,
each adding to what the last one wrote: no atomics, and every sum has one order.

Tokens go in groups of T, unrolled. `walk` loads a whole group before it stores any of it: the
compiler may not move a load over a store, and would wait for memory at each token.

Letters: `B` batch, `H`, `W` sides, `L = H*W` tokens, `I` channels, `S` states, `P` the power of two
from S up, `K = 4` directions, `M` spans of `length` tokens, a multiple of T, `G` blocks of 32
channels. Shapes: `u`, `y` (B, L, I); `dt`, not yet softplus (K, B, L, I); `A2`, A log2 e (K, S, I);
`B`, `C` (B, L, K, S) with their strides; `skip`, D summed over directions (I); states of spans
(K, B, M, S, I); `checks`, states before each group, of one direction (B, L/T, S, I). A gradient has
its variable's shape, after an axis where one is named. A pointer that is None compiles to nothing.
"""

# mypy: ignore-errors
# (what Triton compiles is typed by Triton)
# (`x if c else y` and `(*xs, x)` are not written: Triton takes only some of them)
# ruff: noqa: ANN001, ANN201, ANN202, D417, E741, RUF005, SIM108

import triton
import triton.language as tl

LANES: tl.constexpr = tl.constexpr(32)
LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)
LN_2: tl.constexpr = tl.constexpr(0.6931471805599453)


@triton.jit
def _path(q, k, H, W, T: tl.constexpr):
    """Places in the image of T tokens of direction k, from its q-th; divisions only for the first.

    Places after the last token of a direction mean nothing, and are not to be used.
    """
    by_columns = k % 2 == 1  # directions 1 and 3 go by columns ...
    side = tl.where(by_columns, H, W)
    step = tl.where(by_columns, W, 1)
    turn = tl.where(by_columns, 1 - H * W, 0)
    since = q % side
    place = since * step + q // side * tl.where(by_columns, 1, W)
    if k >= 2:  # ... and 2 and 3 are reversed
        place, step, turn = H * W - 1 - place, -step, -turn
    places = ()
    for _ in tl.static_range(T):
        places = places + (place.to(tl.int64),)
        since += 1
        place += step + tl.where(since == side, turn, 0)
        since = tl.where(since == side, 0, since)
    return places


@triton.jit
def _cells(block, I, S, P: tl.constexpr):
    """Channels of a block (32,), and where in (S, I) its states are (P, 32); both with masks."""
    columns, rows = block * LANES + tl.arange(0, LANES), tl.arange(0, P)
    inside = columns < I
    return columns, inside, rows[:, None] * I + columns, (rows < S)[:, None] & inside


@triton.jit
def _token(x, dt, B, place, live, columns, rows, I, S, B_l):
    """One token, read from where its sample and block begin.

    One that is not live gets x = 0 and delta = 0: it changes no state.

    Returns:
        x (32,), delta (32,), its slope (32,), B_t (P, 1); masks of channels (32,) and states (P,).
    """
    mask, row = columns < tl.where(live, I, 0), rows < tl.where(live, S, 0)
    xt = tl.load(x + place * I, mask, 0.0).to(tl.float32)
    step = tl.load(dt + place * I, mask, -float("inf")).to(tl.float32)
    Bt = tl.load(B + place * B_l, row, 0.0).to(tl.float32)[:, None]
    # softplus = log(1 + e^x) = max(x, 0) + log(1 + z), z = e^-|x|, the latter as
    # 2 artanh(z / (2 + z)): in 1 + z a small step would lose its digits.
    z = tl.exp2(-tl.abs(step) * LOG2_E)
    s = z / (2.0 + z)
    q = s * s
    p = 0.2817833702 * q + 0.2796060263
    p = p * q + 0.4002491026
    p = p * q + 0.6666631468
    delta = tl.maximum(step, 0.0) + s * (p * q + 2.0)
    # softplus' = sigmoid: e^x / (1 + e^x) = exp(x - softplus(x))
    return xt, delta, tl.exp2((step - delta) * LOG2_E), Bt, mask, row


@triton.jit
def summarise(
    x, dt, A2, B, ends, totals,
    batch, H, W, I, S, spans, length, B_b, B_l, B_k, B_s,
    P: tl.constexpr, T: tl.constexpr, BACK: tl.constexpr,
):  # fmt: skip
    """States that spans of all directions make of zeros; programs (G, M, K * B).

    Args:
        ends: Out, the states (K, B, M, S, I).
        totals: Out, sums of delta (K, B, M, I).
        BACK: Scan the gradient instead, from the last token to the first: x is gy, B is C, and
            `G_t = e_t (G_{t+1} + g_t C_t)` is what the token before gets.
    """
    block, span, job = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    k, b = job // batch, (job % batch).to(tl.int64)
    L = H * W
    start, stop = span * length, tl.minimum(span * length + length, L)
    first, way = start, k
    if BACK:  # the way of the opposite direction
        first, way = L - stop, (k + 2) % 4
    columns, inside, cells, full = _cells(block, I, S, P)
    rows = tl.arange(0, P)
    a = tl.load(A2 + k * S * I + cells, full, 0.0)  # (P, 32)
    h = tl.zeros([P, LANES], tl.float32)
    total = tl.zeros([LANES], tl.float32)
    x += b * L * I + columns
    dt += (k * batch + b) * L * I + columns
    B += b * B_b + k * B_k + rows * B_s
    for done in range(0, stop - start, T):
        places = _path(first + done, way, H, W, T)
        for j in tl.static_range(T):
            live = done + j < stop - start
            xt, delta, _, Bt, _, _ = _token(x, dt, B, places[j], live, columns, rows, I, S, B_l)
            e = tl.exp2(delta * a)
            if BACK:
                h = e * (h + xt * Bt)
            else:
                h = e * h + delta * xt * Bt
            total += delta
    at = (k * batch + b) * spans + span
    tl.store(ends + at * S * I + cells, h, full)
    tl.store(totals + at * I + columns, total, inside)


@triton.jit
def carry(states, totals, A2, batch, I, S, spans, P: tl.constexpr, BACK: tl.constexpr):
    """Turn what spans make of empty states into the states before them; programs (G, 1, K * B).

    BACK: from the last span to the first.
    """
    block, job = tl.program_id(0), tl.program_id(2)
    columns, inside, cells, full = _cells(block, I, S, P)
    a = tl.load(A2 + job // batch * S * I + cells, full, 0.0)  # (P, 32)
    h = tl.zeros([P, LANES], tl.float32)
    for n in range(spans):
        at = (job * spans + tl.where(BACK, spans - 1 - n, n)).to(tl.int64)
        made = tl.load(states + at * S * I + cells, full, 0.0)
        total = tl.load(totals + at * I + columns, inside, 0.0)
        tl.store(states + at * S * I + cells, h, full)
        h = tl.exp2(total * a) * h + made


@triton.jit(do_not_specialize=["k"])
def walk(
    u, dt, A2, B, C, skip, starts, checks, y_in, y,
    k, batch, H, W, I, S, spans, length, B_b, B_l, B_k, B_s, C_b, C_l, C_k, C_s,
    P: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Scan direction k, for its outputs or its checks; programs (G, M, B).

    Args:
        starts: States before the spans; None: zeros.
        checks: Out, states before the groups; None: not wanted.
        y_in: Outputs of the directions before, in float32; None: this is the first.
        y: Out, those and this direction's; None: not wanted.
    """
    block, span, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    L = H * W
    start, stop = span * length, tl.minimum(span * length + length, L)
    columns, inside, cells, full = _cells(block, I, S, P)
    rows = tl.arange(0, P)
    a = tl.load(A2 + k * S * I + cells, full, 0.0)  # (P, 32)
    d = tl.load(skip + columns, inside, 0.0)
    h = tl.zeros([P, LANES], tl.float32)
    if starts is not None:
        h = tl.load(starts + ((k * batch + b) * spans + span) * S * I + cells, full, 0.0)
    image, x = b * L * I + columns, u + b * L * I + columns
    dt += (k * batch + b) * L * I + columns
    B += b * B_b + k * B_k + rows * B_s
    C += b * C_b + k * C_k + rows * C_s
    for first in range(start, stop, T):
        if checks is not None:
            tl.store(checks + (b * tl.cdiv(L, T) + first // T) * S * I + cells, h, full)
        places, ys, masks = _path(first, k, H, W, T), (), ()
        for j in tl.static_range(T):
            live, place = first + j < stop, places[j]
            xt, delta, _, Bt, mask, row = _token(x, dt, B, place, live, columns, rows, I, S, B_l)
            h = tl.exp2(delta * a) * h + delta * xt * Bt
            if y is not None:
                Ct = tl.load(C + place * C_l, row, 0.0).to(tl.float32)[:, None]  # (P, 1)
                if y_in is not None:
                    out = tl.load(y_in + image + place * I, mask, 0.0)
                else:
                    out = d * xt
                ys, masks = ys + (out + tl.sum(h * Ct, 0),), masks + (mask,)
        if y is not None:
            for j in tl.static_range(T):
                tl.store(y + image + places[j] * I, ys[j], masks[j])


@triton.jit(do_not_specialize=["k"])
def reverse(
    gy, u, dt, A2, B, C, skip, checks, starts, gu_in, gu, gdt, gA, gB, gC,
    k, batch, H, W, I, S, spans, length, B_b, B_l, B_k, B_s, C_b, C_l, C_k, C_s,
    P: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Gradients of direction k, spans from their ends; programs (G, M, B).

    In each group the states are worked out again from the one before it and kept in registers,
    then `gh_t = g_t C_t + G_{t+1}`, `G_t = e_t gh_t` runs backwards.

    Args:
        starts: G after the spans, `(K, B, M, S, I)`; None: zeros.
        gu_in: The gradient through directions before, in float32; None: this is the first.
        gu: Out, that and this direction's.
        gdt: Out, for all directions; this one's is written.
        gA: Out, this direction's, for every sample and span, (B, M, S, I).
        gB: Out, this direction's, summed over 32 channels, (G, B, L, S).
        gC: As gB.
    """
    block, span, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    L = H * W
    start = span * length
    groups = tl.cdiv(tl.minimum(length, L - start), T)
    columns, inside, cells, full = _cells(block, I, S, P)
    rows = tl.arange(0, P)
    a = tl.load(A2 + k * S * I + cells, full, 0.0)  # (P, 32)
    d = tl.load(skip + columns, inside, 0.0)
    G = tl.zeros([P, LANES], tl.float32)
    if starts is not None:
        G = tl.load(starts + ((k * batch + b) * spans + span) * S * I + cells, full, 0.0)
    by_a = tl.zeros([P, LANES], tl.float32)
    image, image_dt = b * L * I + columns, (k * batch + b) * L * I + columns
    B += b * B_b + k * B_k + rows * B_s
    C += b * C_b + k * C_k + rows * C_s
    sums = (block * batch + b) * L * S + rows
    x, g, steps = u + image, gy + image, dt + image_dt
    for n in range(groups):
        first = start + (groups - 1 - n) * T
        h = tl.load(checks + (b * tl.cdiv(L, T) + first // T) * S * I + cells, full, 0.0)
        # What a token needs on the way back.
        places, hs, us, gs, Bs = _path(first, k, H, W, T), (h,), (), (), ()
        deltas, slopes, gus, masks = (), (), (), ()
        for j in tl.static_range(T):
            live, place = first + j < L, places[j]
            ut, delta, slope, Bt, mask, row = _token(
                x, steps, B, place, live, columns, rows, I, S, B_l
            )
            gt = tl.load(g + place * I, mask, 0.0).to(tl.float32)  # (32,)
            h = tl.exp2(delta * a) * h + delta * ut * Bt
            if gu_in is not None:
                gus = gus + (tl.load(gu_in + image + place * I, mask, 0.0),)
            else:
                gus = gus + (d * gt,)
            hs, us, gs, Bs = hs + (h,), us + (ut,), gs + (gt,), Bs + (Bt,)
            deltas, slopes, masks = deltas + (delta,), slopes + (slope,), masks + ((mask, row),)
        for j in tl.static_range(T - 1, -1, -1):
            place, delta, ut, gt = places[j], deltas[j], us[j], gs[j]
            mask, row = masks[j]
            Ct = tl.load(C + place * C_l, row, 0.0).to(tl.float32)[:, None]  # (P, 1)
            tl.store(gC + sums + place * S, tl.sum(gt * hs[j + 1], 1), row)
            gh = G + gt * Ct
            tl.store(gB + sums + place * S, tl.sum(gh * (delta * ut), 1), row)
            by_inflow = tl.sum(gh * Bs[j], 0)  # (32,)
            G = tl.exp2(delta * a) * gh
            by_exponent = G * hs[j]
            by_decay = tl.sum(by_exponent * a, 0) * LN_2  # (32,)
            by_a += by_exponent * delta
            tl.store(gu + image + place * I, gus[j] + delta * by_inflow, mask)
            tl.store(gdt + image_dt + place * I, (ut * by_inflow + by_decay) * slopes[j], mask)
    tl.store(gA + (b * spans + span) * S * I + cells, by_a, full)
