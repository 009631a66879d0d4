"""The CPU kernels of the projections, compiled by numba: counter, fast Hadamard transform, Fastfood, one-hot, sparse.

All in one file because numba's on-disk cache watches only the file of the function it compiled: a change of `word` in
another file would leave stale kernels that draw a different map. Each kernel has a twin in torch (`counter`,
`hadamard`, `fastfood_reference`, `sparse`, `one_hot`) that tests hold it to.

Vectors of 16 numbers are written as LLVM vector operations: LLVM's own vectoriser gives up on butterflies whose stride
it cannot see. On processors with narrower registers LLVM splits them.
"""

# mypy: disable-error-code=call-arg
# (numba gives an intrinsic its typing context, which mypy takes for an argument of the caller)

from __future__ import annotations

from functools import reduce

import numpy as np
from llvmlite import ir
from numba import carray, njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

WIDTH = 16  # numbers per vector operation
TILE = 1 << 14  # numbers transformed inside cache: 64 KiB in float32
PIECE = 1 << 12  # numbers of a long block or stretch drawn at a time
PARTS = 32  # pieces of work and of sums: a fixed number, so results do not depend on the threads
ROUNDS = 6  # of a keyed permutation; see `counter.permute`

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_U27, _U30, _U31 = np.uint64(27), np.uint64(30), np.uint64(31)


def compiled(**options):
    """numba's njit, cached on disk where some cache folder is writable."""

    def decorate(function):
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # neither the package's nor the user's cache folder can be written
            return njit(**options)(function)

    return decorate


# Only explicit pranges: numba's search for other parallel loops costs seconds of compilation.
parallel = compiled(
    parallel=dict.fromkeys(
        ("comprehension", "fusion", "inplace_binop", "numpy", "reduction", "setitem", "stencil"), False
    )
    | {"prange": True}
)


# ---- vectors of 16 numbers ----


def _vector_pointer(context, builder, array_type, array, offset):
    struct = context.make_array(array_type)(context, builder, array)
    vector = ir.VectorType(context.get_data_type(array_type.dtype), WIDTH)
    return builder.bitcast(builder.gep(struct.data, [offset]), vector.as_pointer())


def _load(builder, pointer):
    return builder.load(pointer, align=4)


def _butterfly(bits):
    """Transforms 2^bits vectors that lie `stride` numbers apart, in registers."""

    @intrinsic
    def butterfly(typingctx, x, start, stride):
        def codegen(context, builder, signature, args):
            array, start, stride = args
            steps = [builder.mul(stride, ir.Constant(stride.type, r)) for r in range(1 << bits)]
            pointers = [
                _vector_pointer(context, builder, signature.args[0], array, builder.add(start, step)) for step in steps
            ]
            v = [_load(builder, pointer) for pointer in pointers]
            for b in range(bits):
                for i in [i for i in range(len(v)) if not i >> b & 1]:
                    j = i | 1 << b
                    v[i], v[j] = builder.fadd(v[i], v[j]), builder.fsub(v[i], v[j])
            for pointer, vector in zip(pointers, v, strict=True):
                builder.store(vector, pointer, align=4)
            return context.get_dummy_value()

        return types.void(x, types.intp, types.intp), codegen

    return butterfly


_butterfly_2, _butterfly_4, _butterfly_8, _butterfly_16 = (_butterfly(bits) for bits in (1, 2, 3, 4))


def _inner_butterfly(stride):
    """The stage of this stride (1, 2, 4 or 8) inside one vector: x_i ± x_{i xor stride}."""

    @intrinsic
    def inner(typingctx, x, start):
        def codegen(context, builder, signature, args):
            pointer = _vector_pointer(context, builder, signature.args[0], *args)
            v = _load(builder, pointer)
            i32 = ir.VectorType(ir.IntType(32), WIDTH)
            low = builder.shuffle_vector(v, v, ir.Constant(i32, [i & ~stride for i in range(WIDTH)]))
            high = builder.shuffle_vector(v, v, ir.Constant(i32, [i | stride for i in range(WIDTH)]))
            pick = ir.Constant(i32, [i + WIDTH if i & stride else i for i in range(WIDTH)])
            result = builder.shuffle_vector(builder.fadd(low, high), builder.fsub(low, high), pick)
            builder.store(result, pointer, align=4)
            return context.get_dummy_value()

        return types.void(x, types.intp), codegen

    return inner


_inner_1, _inner_2, _inner_4, _inner_8 = (_inner_butterfly(stride) for stride in (1, 2, 4, 8))


def _signed(context, builder, source_type, source, start, bits):
    """±source[start : start + 16], minus where the bit of the 16-bit word is set."""
    v = _load(builder, _vector_pointer(context, builder, source_type, source, start))
    mask = builder.bitcast(bits, ir.VectorType(ir.IntType(1), WIDTH))
    return builder.select(mask, builder.fneg(v), v)


@intrinsic
def _flip(typingctx, target, source, start, bits):
    """target = ±source on 16 numbers."""

    def codegen(context, builder, signature, args):
        v = _signed(context, builder, signature.args[1], *args[1:])
        builder.store(v, _vector_pointer(context, builder, signature.args[0], args[0], args[2]), align=4)
        return context.get_dummy_value()

    return types.void(target, source, types.intp, types.uint16), codegen


@intrinsic
def _add_flipped(typingctx, target, source, start, bits):
    """target += ±source on 16 numbers."""

    def codegen(context, builder, signature, args):
        v = _signed(context, builder, signature.args[1], *args[1:])
        pointer = _vector_pointer(context, builder, signature.args[0], args[0], args[2])
        builder.store(builder.fadd(_load(builder, pointer), v), pointer, align=4)
        return context.get_dummy_value()

    return types.void(target, source, types.intp, types.uint16), codegen


def _splat(builder, scalar):
    """The vector of 16 times this number."""
    undefined = ir.Constant(ir.VectorType(scalar.type, WIDTH), ir.Undefined)
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(
        builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0)), undefined, zeros
    )


def _looked_up(context, builder, table_type, table, numbers):
    """table[numbers] for 16 numbers of 16 bits, in one instruction where the processor has it."""
    element = context.get_data_type(table_type.dtype)
    base = context.make_array(table_type)(context, builder, table).data
    numbers = builder.zext(numbers, ir.VectorType(ir.IntType(64), WIDTH))
    size = ir.Constant(ir.IntType(64), table_type.dtype.bitwidth // 8)
    addresses = builder.add(
        _splat(builder, builder.ptrtoint(base, ir.IntType(64))), builder.mul(numbers, _splat(builder, size))
    )
    pointers = builder.inttoptr(addresses, ir.VectorType(element.as_pointer(), WIDTH))
    mask, vector = ir.VectorType(ir.IntType(1), WIDTH), ir.VectorType(element, WIDTH)
    signature = ir.FunctionType(vector, [pointers.type, ir.IntType(32), mask, vector])
    gather = cgutils.get_or_insert_function(builder.module, signature, f"llvm.masked.gather.v{WIDTH}f32.v{WIDTH}p0")
    every = ir.Constant(mask, [1] * WIDTH)
    return builder.call(gather, [pointers, ir.Constant(ir.IntType(32), 4), every, ir.Constant(vector, ir.Undefined)])


def _gaussian_drawer(rows):
    """g = table[numbers] on `rows` vectors `stride` apart; their squares are added up first, then to `sums`.

    Sums one after the other would wait for each other.
    """

    @intrinsic
    def draw(typingctx, g, numbers, table, sums, at, start, stride):
        def codegen(context, builder, signature, args):
            g, numbers, table, sums, at, start, stride = args
            types_ = signature.args
            squares = []
            for r in range(rows):
                place = builder.add(start, builder.mul(stride, ir.Constant(stride.type, r)))
                drawn = _load(builder, _vector_pointer(context, builder, types_[1], numbers, place))
                v = _looked_up(context, builder, types_[2], table, drawn)
                wanted = ir.VectorType(context.get_data_type(types_[0].dtype), WIDTH)
                v = v if v.type == wanted else builder.fpext(v, wanted)
                builder.store(v, _vector_pointer(context, builder, types_[0], g, place), align=4)
                squares.append(builder.fmul(v, v))
            total = reduce(builder.fadd, squares)
            double = ir.VectorType(ir.DoubleType(), WIDTH)
            total = total if total.type == double else builder.fpext(total, double)
            pointer = _vector_pointer(context, builder, types_[3], sums, at)
            builder.store(builder.fadd(_load(builder, pointer), total), pointer, align=4)
            return context.get_dummy_value()

        return types.void(g, numbers, table, sums, types.intp, types.intp, types.intp), codegen

    return draw


_draw_1, _draw_8 = _gaussian_drawer(1), _gaussian_drawer(8)


@intrinsic
def _multiply_scaled(typingctx, target, at, g, start, scale, lane, source, begin):
    """target = (g · scale) · source on 16 numbers."""

    def codegen(context, builder, signature, args):
        pointers = [_vector_pointer(context, builder, signature.args[i], *args[i : i + 2]) for i in range(0, 8, 2)]
        g, scale, source = (_load(builder, pointer) for pointer in pointers[1:])
        builder.store(builder.fmul(builder.fmul(g, scale), source), pointers[0], align=4)
        return context.get_dummy_value()

    return types.void(target, types.intp, g, types.intp, scale, types.intp, source, types.intp), codegen


@intrinsic
def _permutation_round(typingctx, x, start, a, c, mask, shift):
    """x ← y xor (y >> shift), y = a x + c masked, on 16 numbers of 32 bits."""

    def codegen(context, builder, signature, args):
        pointer = _vector_pointer(context, builder, signature.args[0], args[0], args[1])
        v = _load(builder, pointer)
        a, c, mask, shift = (_splat(builder, s) for s in args[2:])
        y = builder.and_(builder.add(builder.mul(v, a), c), mask)
        builder.store(builder.xor(y, builder.lshr(y, shift)), pointer, align=4)
        return context.get_dummy_value()

    return types.void(x, types.intp, *[types.uint32] * 4), codegen


@compiled()
def _aligned(n, like):
    """An uninitialised buffer that starts on a 64-byte line: vector loads that cross lines cost double."""
    buffer = np.empty(n + WIDTH, like.dtype)
    start = (-(buffer.ctypes.data // buffer.itemsize)) % WIDTH
    return buffer[start : start + n]


# ---- counter ----


@compiled()
def word(key, index):
    """The 64-bit word number `index` of the stream `key` (splitmix64: a Weyl sequence and two multiplications)."""
    z = np.uint64(key) + np.uint64(index) * _GOLDEN
    z = (z ^ (z >> _U30)) * _MIX_1
    z = (z ^ (z >> _U27)) * _MIX_2
    return z ^ (z >> _U31)


@compiled()
def draw_words(words, key, first):
    for i in range(words.size):
        words[i] = word(key, np.uint64(first) + np.uint64(i))


@compiled()
def draw_gaussians(g, words, key, first, table):
    """g[q] = the Gaussian number first + q; `first` and g.size are multiples of 4, words has g.size / 4 places."""
    draw_words(words, key, first // 4)
    u = words.view(np.uint16)
    for q in range(g.size):
        g[q] = table[u[q]]


@compiled()
def draw_constants(constants, key, number):
    """The 2·ROUNDS multipliers and summands of permutation `number`."""
    for r in range(2 * ROUNDS):
        constants[r] = np.uint32(word(key, np.uint64(2 * ROUNDS * number + r)) & np.uint64(0xFFFFFFFF))


@compiled()
def draw_permutation(pi, first, constants, log2_size):
    """pi[i] = Π(first + i), Π the permutation of 2^log2_size numbers with these constants; pi.size a multiple of 16."""
    shift, mask = np.uint32((log2_size + 1) // 2), np.uint32((1 << log2_size) - 1)
    for i in range(pi.size):
        pi[i] = (first + i) & mask
    for i in range(0, pi.size, WIDTH):
        for r in range(ROUNDS):
            _permutation_round(pi, i, constants[2 * r] | np.uint32(1), constants[2 * r + 1], mask, shift)


@compiled()
def _log2(n):
    k = 0
    while 1 << k < n:
        k += 1
    return k


# ---- fast Hadamard transform ----


@compiled()
def wht(x, stride):
    """In place: x ← (H ⊗ I_stride) x for x of 2^k numbers, 2^k ≥ 16; `stride` a power of two."""
    n, h = x.size, stride
    if h <= 1:
        for i in range(0, n, WIDTH):
            _inner_1(x, i)
    if h <= 2:
        for i in range(0, n, WIDTH):
            _inner_2(x, i)
    if h <= 4:
        for i in range(0, n, WIDTH):
            _inner_4(x, i)
    if h <= 8:
        for i in range(0, n, WIDTH):
            _inner_8(x, i)
    h = max(h, WIDTH)
    while h < n:
        left = n // h
        if left >= 256 or left == 16:
            for i in range(0, n, 16 * h):
                for j in range(i, i + h, WIDTH):
                    _butterfly_16(x, j, h)
            h *= 16
        elif left >= 8:
            for i in range(0, n, 8 * h):
                for j in range(i, i + h, WIDTH):
                    _butterfly_8(x, j, h)
            h *= 8
        elif left == 4:
            for i in range(0, n, 4 * h):
                for j in range(i, i + h, WIDTH):
                    _butterfly_4(x, j, h)
            h *= 4
        else:
            for i in range(0, n, 2 * h):
                for j in range(i, i + h, WIDTH):
                    _butterfly_2(x, j, h)
            h *= 2


@compiled()
def _wht_strip(x, tile, first, columns):
    """In place: x seen as rows of length `tile`, its columns first … first + columns transformed in a buffer."""
    rows = x.size // tile
    buffer = _aligned(rows * columns, x)
    for i in range(rows):
        for j in range(columns):
            buffer[i * columns + j] = x[i * tile + first + j]
    wht(buffer, columns)
    for i in range(rows):
        for j in range(columns):
            x[i * tile + first + j] = buffer[i * columns + j]


@parallel
def wht_rows(X):
    """In place: each row of X (k, n) transformed; n a power of two ≥ 16. Long rows go through memory twice."""
    k, n = X.shape
    tile = min(n, TILE)
    for item in prange(k * (n // tile)):
        r, start = item // (n // tile), item % (n // tile) * tile
        wht(X[r, start : start + tile], 1)
    if n > tile:
        columns = max(WIDTH, TILE // (n // tile))
        strips = tile // columns
        for item in prange(k * strips):
            _wht_strip(X[item // strips], tile, item % strips * columns, columns)


# ---- Fastfood, blocks that fit in cache ----


@compiled()
def _draw_group(group, n, lanes, D, keys, table, g, words, signs, pi, constants, squares, scale):
    """Fills the signs, the Gaussians g, their scale and the permutation of one group of `lanes` blocks."""
    size = n * lanes
    draw_words(signs, keys[0], group * (size // 64))
    draw_words(words, keys[1], group * (size // 4))
    draw_constants(constants, keys[2], group)
    draw_permutation(pi, 0, constants, _log2(n))
    width = max(lanes, WIDTH)  # lanes narrower than a vector are summed a vector at a time
    numbers = words.view(np.uint16)
    squares[:] = 0
    eights = size // (8 * width) * 8 * width
    for q in range(0, eights, 8 * width):
        for r in range(0, width, WIDTH):
            _draw_8(g, numbers, table, squares, r, q + r, width)
    for q in range(eights, size, width):
        for r in range(0, width, WIDTH):
            _draw_1(g, numbers, table, squares, r, q + r, width)
    for r in range(width):
        total = 0.0
        for s in range(r % lanes, width, lanes):
            total += squares[s]
        scale[r] = 1.0 / np.sqrt(D * total)


@compiled()
def _gather_rows(out, g, scale, t, pi, lanes, log2_lanes):
    """out = (g · scale) · t[Π]: row i of out from row Π(i) of t, rows of `lanes` numbers."""
    if lanes >= WIDTH:
        for i in range(out.size // lanes):
            source, row = np.intp(pi[i]) * lanes, i * lanes
            for lane in range(0, lanes, WIDTH):
                _multiply_scaled(out, row + lane, g, row + lane, scale, lane, t, source + lane)
    else:
        for q in range(out.size):
            source = (np.intp(pi[q >> log2_lanes]) << log2_lanes) + (q & (lanes - 1))
            out[q] = g[q] * scale[q & (WIDTH - 1)] * t[source]


@compiled()
def _scatter_rows(out, g, scale, t, pi, lanes, log2_lanes):
    """out[Π] = (g · scale) · t: the adjoint of `_gather_rows`."""
    if lanes >= WIDTH:
        for i in range(out.size // lanes):
            target, row = np.intp(pi[i]) * lanes, i * lanes
            for lane in range(0, lanes, WIDTH):
                _multiply_scaled(out, target + lane, g, row + lane, scale, lane, t, row + lane)
    else:
        for q in range(out.size):
            target = (np.intp(pi[q >> log2_lanes]) << log2_lanes) + (q & (lanes - 1))
            out[target] = g[q] * scale[q & (WIDTH - 1)] * t[q]


@intrinsic
def _pointer(typingctx, address):
    """What lies at this address."""

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(address), codegen


@compiled()
def _copy(target, source):
    """Numbers of the shorter one; numba assigns slices a number at a time."""
    for q in range(min(target.size, source.size)):
        target[q] = source[q]


@compiled()
def _add(target, source):
    for q in range(min(target.size, source.size)):
        target[q] += source[q]


@compiled()
def _read(target, parts, borders, low, high, adding):
    """target (or what is added to it) = numbers low to high of a vector in parts, as `fastfood_adjoint` has it."""
    i = np.searchsorted(borders, low, side="right") - 1
    while low < high:
        end = min(high, borders[i + 1])
        part = carray(_pointer(parts[i]), borders[i + 1] - borders[i], target.dtype)[low - borders[i] :]
        if adding:
            _add(target[: end - low], part)
        else:
            _copy(target[: end - low], part)
        target, low, i = target[end - low :], end, i + 1


@compiled()
def _products_chunk(expanded, Y, parts, borders, groups, starts, places, first, begin, end, n, lanes, D, keys, table):
    size = n * lanes
    t, w, g = _aligned(size, Y), _aligned(size, Y), _aligned(size, Y)
    words, signs = np.empty(size // 4, np.uint64), np.empty(size // 64, np.uint64)
    bits = signs.view(np.uint16)
    pi, constants = np.empty(max(n, WIDTH), np.uint32), np.empty(2 * ROUNDS, np.uint32)
    squares, scale = np.empty(max(lanes, WIDTH), np.float64), _aligned(max(lanes, WIDTH), Y)
    for at in range(begin, end):
        _draw_group(groups[at], n, lanes, D, keys, table, g, words, signs, pi, constants, squares, scale)
        low, high, origin = starts[at], starts[at + 1], groups[at] * size
        whole = high - low == size and not places.size
        for c in range(Y.shape[0]):
            x = expanded[c]
            for q in range(0, size, WIDTH):
                _flip(t, x, q, bits[q // WIDTH])  # B x
            wht(t, lanes)  # H B x
            out = Y[c, low:high] if whole else w
            _gather_rows(out, g, scale, t, pi, lanes, _log2(lanes))  # G Π H B x
            wht(out, lanes)  # H G Π H B x
            if places.size:
                for q in range(low, high):
                    Y[c, q] = out[places[q] - origin]
            elif not whole:
                _copy(Y[c, low:high], out[low + first - origin :])
            if parts.size:
                _read(Y[c, low:high], parts[c], borders, low, high, True)


@parallel
def fastfood_products(expanded, Y, parts, borders, groups, starts, places, first, n, lanes, D, keys, table):
    """Y[c] = some rows of P x_c for the columns c, ascending; those of groups[i] are Y[c, starts[i] : starts[i + 1]].

    `expanded` (k, n·lanes) holds x_c zero-padded to n, each number `lanes` times. Number q of Y is the row places[q],
    or first + q where `places` is empty. D: length of the whole of P x. Where `parts` is not empty, the vector that it
    holds, see `fastfood_adjoint`, is added.
    """
    chunks = min(len(groups), PARTS)
    for chunk in prange(chunks):
        begin, end = chunk * len(groups) // chunks, (chunk + 1) * len(groups) // chunks
        _products_chunk(
            expanded, Y, parts, borders, groups, starts, places, first, begin, end, n, lanes, D, keys, table
        )


@compiled()
def _adjoint_chunk(sums, parts, borders, groups, starts, places, first, begin, end, n, lanes, D, keys, table):
    size = n * lanes
    t, w, g = _aligned(size, sums), _aligned(size, sums), _aligned(size, sums)
    words, signs = np.empty(size // 4, np.uint64), np.empty(size // 64, np.uint64)
    bits = signs.view(np.uint16)
    pi, constants = np.empty(max(n, WIDTH), np.uint32), np.empty(2 * ROUNDS, np.uint32)
    squares, scale = np.empty(max(lanes, WIDTH), np.float64), _aligned(max(lanes, WIDTH), sums)
    sums[:] = 0
    for at in range(begin, end):
        _draw_group(groups[at], n, lanes, D, keys, table, g, words, signs, pi, constants, squares, scale)
        low, high, origin = starts[at], starts[at + 1], groups[at] * size
        for c in range(sums.shape[0]):
            if high - low < size:
                t[:] = 0
            if places.size:
                _read(w, parts[c], borders, low, high, False)
                for q in range(low, high):
                    t[places[q] - origin] = w[q - low]
            else:
                _read(t[low + first - origin :], parts[c], borders, low, high, False)
            wht(t, lanes)  # H y
            _scatter_rows(w, g, scale, t, pi, lanes, _log2(lanes))  # Πᵀ G H y
            wht(w, lanes)  # H Πᵀ G H y
            for q in range(0, size, WIDTH):
                _add_flipped(sums[c], w, q, bits[q // WIDTH])  # B H Πᵀ G H y


@parallel
def fastfood_adjoint(sums, parts, borders, groups, starts, places, first, n, lanes, D, keys, table):
    """sums[chunk, c] (n·lanes) = the part of Pᵀ y_c that comes from a chunk of groups, its lanes not yet added.

    y_c holds some rows of the image, as in `fastfood_products`; the others count as zero. It may lie in parts: its
    numbers borders[i] to borders[i + 1] are at the address parts[c, i], one after the other, of the dtype of sums.
    """
    chunks = sums.shape[0]
    for chunk in prange(chunks):
        begin, end = chunk * len(groups) // chunks, (chunk + 1) * len(groups) // chunks
        _adjoint_chunk(sums[chunk], parts, borders, groups, starts, places, first, begin, end, n, lanes, D, keys, table)


# ---- Fastfood, blocks longer than the cache ----


@compiled()
def _add_flipped_piece(target, source, key, first, negative, begin, end):
    for q in range(begin, end, 64):
        bits = word(key, np.uint64((first + q) // 64))
        if negative:
            bits = ~bits
        for i in range(q, min(q + 64, end)):
            target[i] += -source[i] if bits & np.uint64(1) else source[i]
            bits >>= np.uint64(1)


@parallel
def add_flipped(target, source, key, first, negative):
    """target += ±source (n,), number i by sign first + i (or its opposite); `first` a multiple of 64."""
    n = source.size
    for piece in prange(-(-n // TILE)):
        begin = piece * TILE
        _add_flipped_piece(target, source, key, first, negative, begin, min(begin + TILE, n))


@compiled()
def _sum_of_squares(g):
    total = 0.0
    for i in range(g.size):
        total += np.float64(g[i]) * np.float64(g[i])
    return total


@compiled()
def _spread_piece(v, low, block, period, upper, lower, accumulate, first, step, keys, table):
    h = upper.size
    g0, g1, words = _aligned(step, v), _aligned(step, v), np.empty(step // 4, np.uint64)
    pi0, pi1, constants = np.empty(step, np.uint32), np.empty(step, np.uint32), np.empty(2 * ROUNDS, np.uint32)
    draw_constants(constants, keys[2], block)
    draw_gaussians(g0, words, keys[1], block * 2 * h + first, table)
    draw_gaussians(g1, words, keys[1], block * 2 * h + h + first, table)
    draw_permutation(pi0, first, constants, _log2(2 * h))
    draw_permutation(pi1, h + first, constants, _log2(2 * h))
    zero = v.dtype.type(0)
    for i in range(step):
        i0 = np.intp(pi0[i] & np.uint32(period - 1)) - low
        i1 = np.intp(pi1[i] & np.uint32(period - 1)) - low
        a = g0[i] * v[i0] if 0 <= i0 < v.size else zero
        b = g1[i] * v[i1] if 0 <= i1 < v.size else zero
        upper[first + i] = a + b + (upper[first + i] if accumulate else zero)
        if lower.size:
            lower[first + i] = a - b + (lower[first + i] if accumulate else zero)
    return _sum_of_squares(g0) + _sum_of_squares(g1)


@parallel
def spread(v, low, block, period, upper, lower, accumulate, squares, keys, table):
    """The first stage of H G Π (v tiled) for a block of length 2h: w = G Π v; upper = w_0 + w_1, lower = w_0 - w_1.

    v holds numbers low … low + v.size of the tile of length `period`; the others count as zero. `lower` is (h,), or
    empty where it is not wanted. squares[piece] receives the piece's part of Σ G².
    """
    step = upper.size // squares.size
    for piece in prange(squares.size):
        squares[piece] = _spread_piece(v, low, block, period, upper, lower, accumulate, piece * step, step, keys, table)


@compiled()
def _collect_piece(t, offset, u, low, block, length, period, first, step, keys, table):
    g, words = _aligned(step, t), np.empty(step // 4, np.uint64)
    pi, constants = np.empty(step, np.uint32), np.empty(2 * ROUNDS, np.uint32)
    draw_constants(constants, keys[2], block)
    draw_gaussians(g, words, keys[1], block * length + offset + first, table)
    draw_permutation(pi, offset + first, constants, _log2(length))
    for i in range(step):
        j = np.intp(pi[i] & np.uint32(period - 1)) - low
        if 0 <= j < u.size:
            u[j] += g[i] * t[first + i]
    return _sum_of_squares(g)


@parallel
def collect(t, offset, u, low, block, length, period, squares, keys, table):
    """u += the part of (tile)ᵀ Πᵀ G t that falls on low … low + m; t (h,) = numbers offset … of a block.

    u is (chunks, m), each chunk of t with a sum of its own; one serves all when period == length, where no two meet.
    """
    pieces = squares.size
    step = t.size // pieces
    shared = period == length
    chunks = pieces if shared else u.shape[0]
    for chunk in prange(chunks):
        own = u[0] if shared else u[chunk]
        for piece in range(chunk * pieces // chunks, (chunk + 1) * pieces // chunks):
            squares[piece] = _collect_piece(t, offset, own, low, block, length, period, piece * step, step, keys, table)


# ---- one-hot, sparse, Gaussian ----


@compiled()
def _draw_columns(columns, pi, first, constants, log2_size, d):
    """Puts the images below d of Π(first), Π(first + 1), … into columns, in order; returns how many."""
    draw_permutation(pi, first, constants, log2_size)
    n = 0
    for t in range(min(pi.size, (1 << log2_size) - first)):
        columns[n] = pi[t]  # stored always, kept when the image is below d: no branch to mispredict
        n += 1 if pi[t] < d else 0
    return n


@compiled()
def _flip_places(y, first, key):
    """y[i] ← ±y[i] by the sign of place first + i."""
    i = 0
    while i < y.size:
        place = first + i
        bits = word(key, np.uint64(place // 64)) >> np.uint64(place % 64)
        for _ in range(min(64 - place % 64, y.size - i)):
            y[i] = -y[i] if bits & np.uint64(1) else y[i]
            bits >>= np.uint64(1)
            i += 1


@compiled()
def _one_hot_chunk(X, Y, begin, end, keys, signed):
    k, D = Y.shape
    d = X.shape[1]
    log2_size = _log2(d)
    step = max(WIDTH, min(1 << log2_size, PIECE))
    pi, columns, constants = np.empty(step, np.uint32), np.empty(step + 1, np.uint32), np.empty(2 * ROUNDS, np.uint32)
    for stretch in range(begin, end):
        draw_constants(constants, keys[1], stretch)
        row, last = stretch * d, min((stretch + 1) * d, D)
        for first in range(0, 1 << log2_size, step):
            n = min(_draw_columns(columns, pi, first, constants, log2_size, d), last - row)
            for c in range(k):
                for i in range(n):
                    Y[c, row + i] = X[c, columns[i]]
                if signed:
                    _flip_places(Y[c, row : row + n], row, keys[0])
            row += n


@parallel
def one_hot_products(X, Y, keys, signed):
    """Y[c, i] = ±X[c, column(i)]."""
    stretches = -(-Y.shape[1] // X.shape[1])
    chunks = min(stretches, PARTS)
    for chunk in prange(chunks):
        begin, end = chunk * stretches // chunks, (chunk + 1) * stretches // chunks
        _one_hot_chunk(X, Y, begin, end, keys, signed)


@compiled()
def _one_hot_adjoint_chunk(Y, sums, begin, end, keys, signed):
    k, D = Y.shape
    d = sums.shape[1]
    log2_size = _log2(d)
    step = max(WIDTH, min(1 << log2_size, PIECE))
    pi, columns, constants = np.empty(step, np.uint32), np.empty(step + 1, np.uint32), np.empty(2 * ROUNDS, np.uint32)
    values = np.empty(step, Y.dtype)
    sums[:] = 0
    for stretch in range(begin, end):
        draw_constants(constants, keys[1], stretch)
        row, last = stretch * d, min((stretch + 1) * d, D)
        for first in range(0, 1 << log2_size, step):
            n = min(_draw_columns(columns, pi, first, constants, log2_size, d), last - row)
            for c in range(k):
                for i in range(n):
                    values[i] = Y[c, row + i]
                if signed:
                    _flip_places(values[:n], row, keys[0])
                for i in range(n):
                    sums[c, columns[i]] += values[i]
            row += n


@parallel
def one_hot_adjoint(Y, sums, keys, signed):
    """sums[chunk, c, j] = Σ ±Y[c, i] over the places i of a chunk with column(i) = j."""
    chunks = sums.shape[0]
    stretches = -(-Y.shape[1] // sums.shape[2])
    for chunk in prange(chunks):
        begin, end = chunk * stretches // chunks, (chunk + 1) * stretches // chunks
        _one_hot_adjoint_chunk(Y, sums[chunk], begin, end, keys, signed)


@compiled()
def _one_hot_codes_chunk(codes, stretches, starts, places, first, begin, end, d, keys, signed):
    log2_size = _log2(d)
    step = max(WIDTH, min(1 << log2_size, PIECE))
    pi, columns, constants = np.empty(step, np.uint32), np.empty(step + 1, np.uint32), np.empty(2 * ROUNDS, np.uint32)
    for at in range(begin, end):
        draw_constants(constants, keys[1], stretches[at])
        q, row = starts[at], stretches[at] * d
        for image in range(0, 1 << log2_size, step):
            n = _draw_columns(columns, pi, image, constants, log2_size, d)
            while q < starts[at + 1]:
                place = places[q] if places.size else first + q
                if place >= row + n:
                    break
                minus = signed and (word(keys[0], np.uint64(place // 64)) >> np.uint64(place % 64)) & np.uint64(1)
                codes[q] = columns[place - row] + (d if minus else 0)
                q += 1
            row += n


@parallel
def one_hot_codes(codes, stretches, starts, places, first, d, keys, signed):
    """codes[q] = column of place number q, + d where its sign is −; places as in `fastfood_products`, by stretches."""
    chunks = min(len(stretches), PARTS)
    for chunk in prange(chunks):
        begin, end = chunk * len(stretches) // chunks, (chunk + 1) * len(stretches) // chunks
        _one_hot_codes_chunk(codes, stretches, starts, places, first, begin, end, d, keys, signed)


@compiled()
def _one_hot_spread_chunk(both, Y, codes, parts, borders, begin, end):
    for c in range(Y.shape[0]):
        x = both[c]
        for low in range(begin, end, PIECE):
            high = min(low + PIECE, end)
            y, some = Y[c, low:high], codes[low:high]
            for q in range(y.size):
                y[q] = x[some[q]]
            if parts.size:
                _read(y, parts[c], borders, low, high, True)


@parallel
def one_hot_spread(both, Y, codes, parts, borders):
    """Y[c, q] = both[c, codes[q]], both[c] = (x_c, −x_c), and the vector in parts added, see `fastfood_adjoint`."""
    n = codes.size
    chunks = min(n, PARTS)
    for chunk in prange(chunks):
        _one_hot_spread_chunk(both, Y, codes, parts, borders, chunk * n // chunks, (chunk + 1) * n // chunks)


@compiled()
def _one_hot_collect_chunk(sums, codes, parts, borders, begin, end):
    y = _aligned(PIECE, sums)
    sums[:] = 0
    for c in range(sums.shape[0]):
        total = sums[c]
        for low in range(begin, end, PIECE):
            high = min(low + PIECE, end)
            some = codes[low:high]
            _read(y, parts[c], borders, low, high, False)
            for q in range(some.size):
                total[some[q]] += y[q]


@parallel
def one_hot_collect(sums, codes, parts, borders):
    """sums[chunk, c, j] = Σ y_c[q] over the q of a chunk with codes[q] = j; y_c in parts, see `fastfood_adjoint`."""
    chunks, n = sums.shape[0], codes.size
    for chunk in prange(chunks):
        _one_hot_collect_chunk(sums[chunk], codes, parts, borders, chunk * n // chunks, (chunk + 1) * n // chunks)


@compiled()
def scale_first_columns(X, factor, count, stretch, key):
    """X[:, j] *= factor for the columns j of the first `count` rows of a stretch."""
    k, d = X.shape
    log2_size = _log2(d)
    step = max(WIDTH, min(1 << log2_size, PIECE))
    pi, columns, constants = np.empty(step, np.uint32), np.empty(step + 1, np.uint32), np.empty(2 * ROUNDS, np.uint32)
    draw_constants(constants, key, stretch)
    for first in range(0, 1 << log2_size, step):
        n = min(_draw_columns(columns, pi, first, constants, log2_size, d), count)
        for c in range(k):
            for i in range(n):
                X[c, columns[i]] *= factor
        count -= n


@compiled()
def _sparse_place(key, stratum, j, d, begin, width):
    """(place, minus?) of the non-zero of column j in a stratum: 31 bits choose the place, the lowest bit the sign."""
    w = word(key, np.uint64(stratum * d + j))
    place = begin + np.intp(((w >> np.uint64(33)) * np.uint64(width)) >> np.uint64(31))
    return place, (w & np.uint64(1)) != np.uint64(0)


@compiled()
def _sparse_stratum(X, Y, stratum, strata, key):
    k, D = Y.shape
    d = X.shape[1]
    begin, end = stratum * D // strata, (stratum + 1) * D // strata
    Y[:, begin:end] = 0
    for j in range(d):
        place, minus = _sparse_place(key, stratum, j, d, begin, end - begin)
        for c in range(k):
            Y[c, place] += -X[c, j] if minus else X[c, j]


@parallel
def sparse_products(X, Y, strata, key):
    """Y[c] = Σ_j ±X[c, j] e_place(stratum, j): each stratum of rows by one thread."""
    for stratum in prange(strata):
        _sparse_stratum(X, Y, stratum, strata, key)


@compiled()
def _sparse_adjoint_chunk(Y, sums, first, last, strata, key):
    k, D = Y.shape
    d = sums.shape[1]
    sums[:] = 0
    for stratum in range(first, last):
        begin, end = stratum * D // strata, (stratum + 1) * D // strata
        for j in range(d):
            place, minus = _sparse_place(key, stratum, j, d, begin, end - begin)
            for c in range(k):
                sums[c, j] += -Y[c, place] if minus else Y[c, place]


@parallel
def sparse_adjoint(Y, sums, strata, key):
    """sums[chunk, c, j] = Σ ±Y[c, place(stratum, j)] over the strata of a chunk."""
    chunks = sums.shape[0]
    for chunk in prange(chunks):
        first, last = chunk * strata // chunks, (chunk + 1) * strata // chunks
        _sparse_adjoint_chunk(Y, sums[chunk], first, last, strata, key)


@parallel
def gaussian_rows(out, words, key, first_row, table):
    """out[i, j] = the Gaussian number (first_row + i)·width + j; width = out.shape[1], a multiple of 4."""
    width = out.shape[1]
    for i in prange(out.shape[0]):
        draw_gaussians(out[i], words[i], key, (first_row + i) * width, table)
