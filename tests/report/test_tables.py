"""Tables against intervals worked out by hand, in print, or by another route."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from natra_jax.evaluation.intervals import t_interval, wilson
from natra_jax.report import (
    Plain,
    build,
    build_differences,
    compare,
    find,
    glossary,
    metric_dots,
    paired_difference,
    plain,
    select,
    texts,
    to_markdown,
    to_text,
)
from natra_jax.report.printing import escape_markdown
from natra_jax.types import Record


def record(method, seed, value, split="test_shift", metric="accuracy", n=597, low=None, high=None):
    return Record(method, seed, split, metric, value, n, low, high, "fingerprint")


def runs(method, *values, **more):
    return [record(method, seed, value, **more) for seed, value in enumerate(values)]


class TestIntervals:
    @pytest.mark.parametrize(
        "successes, n, low, high",  # Newcombe (1998), Statistics in Medicine 17, table I, method 3
        [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ],
    )
    def test_wilson_agrees_with_the_published_values(self, successes, n, low, high):
        assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)

    @given(
        st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
        st.floats(0.5, 0.999),
    )
    def test_wilson_bounds_are_where_the_score_test_turns(self, counts, confidence):
        successes, n = counts
        low, high = wilson(successes, n, confidence)
        z = stats.norm.ppf(0.5 + confidence / 2)
        assert 0.0 <= low <= successes / n <= high <= 1.0
        for bound in (low, high):
            assert abs(successes / n - bound) == pytest.approx(
                z * math.sqrt(bound * (1 - bound) / n), abs=1e-7
            )
        assert wilson(n - successes, n, confidence) == pytest.approx((1 - high, 1 - low), abs=1e-12)

    def test_wilson_ends_exactly_at_0_and_1(self):
        assert wilson(0, 7)[0] == 0.0
        assert wilson(7, 7)[1] == 1.0

    @pytest.mark.parametrize("successes, n", [(1, 0), (-1, 5), (6, 5)])
    def test_wilson_refuses_what_is_no_proportion(self, successes, n):
        with pytest.raises(ValueError, match="no proportion"):
            wilson(successes, n)

    def test_t_interval_by_hand(self):
        # Mean 2, standard deviation 1, t(0.975; 2 degrees of freedom) = 4.303 in any table:
        # 2 ± 4.303 / sqrt(3).
        assert t_interval([1.0, 2.0, 3.0]) == pytest.approx((-0.484, 4.484), abs=1e-3)

    @given(st.lists(st.floats(-100, 100), min_size=2, max_size=9), st.floats(0.5, 0.99))
    def test_t_interval_agrees_with_scipy(self, values, confidence):
        low, high = t_interval(values, confidence)
        scale = stats.sem(values)
        expected = (
            stats.t.interval(
                confidence, len(values) - 1, loc=sum(values) / len(values), scale=scale
            )
            if scale > 1e-9
            else (low, high)
        )
        assert (low, high) == pytest.approx(expected, rel=1e-7, abs=1e-7)
        assert low <= high

    def test_t_interval_of_one_value_or_of_nan(self):
        assert t_interval([0.5]) is None
        assert t_interval([]) is None
        assert all(map(math.isnan, t_interval([0.5, math.nan, math.inf])))


class TestBuild:
    def test_one_seed_has_the_interval_of_its_record(self):
        table = build([record("natra", 0, 0.5, low=0.46, high=0.54)], ["natra"])
        assert table.cells[0][0][:4] == (0.5, 0.46, 0.54, 1)
        assert "over the examples (Wilson)" in table.note

    def test_several_seeds_have_a_t_interval(self):
        table = build(runs("natra", 0.74, 0.76, 0.77, low=0.1, high=0.9), ["natra"])
        ((cell,),) = table.cells
        # Mean 0.756667, standard deviation 0.0152753, half width
        # 4.302653 * 0.0152753 / sqrt(3) = 0.0379459.
        assert cell[:4] == pytest.approx((0.756667, 0.718721, 0.794613, 3), abs=1e-6)
        assert "Student" in table.note and "3 seeds" in table.note

    def test_rows_keep_the_given_order_and_columns_the_sensible_one(self):
        places = [
            ("val_shift", "accuracy"),
            ("zebra", "stripes"),
            ("test_shift", "latent_accuracy"),
            ("train", "accuracy"),
            ("val_iid", "accuracy"),
            ("test_shift", "worst16"),
            ("extra", "accuracy"),
            ("test_shift", "accuracy"),
            ("val_iid", "worst16"),
            ("test_iid", "accuracy"),
        ]
        records = [
            record(m, 0, 0.5, split=split, metric=metric)
            for m in ("b", "a", "original")
            for split, metric in places
        ]
        table = build(records, ["a", "original", "b"], reductions=["test_shift"])
        assert table.methods == ("a", "original", "b")
        assert [(column.metric, column.split) for column in table.columns] == [
            ("accuracy", "test_iid"),
            ("accuracy", "test_shift"),
            ("accuracy", "extra"),
            ("worst16", "test_shift"),
            ("latent_accuracy", "test_shift"),
            ("error_reduction", "test_shift"),
            ("accuracy", "val_iid"),
            ("accuracy", "val_shift"),
            ("accuracy", "train"),
            ("worst16", "val_iid"),
            ("stripes", "zebra"),
        ]

    name = st.sampled_from(
        ["accuracy", "worst16", "test_iid", "val_iid", "train", "natra", "x", "y_1"]
    )

    @given(
        st.lists(
            st.tuples(name, st.integers(0, 2), name, name, st.floats(0, 1)),
            unique_by=lambda r: r[:4],
            max_size=30,
        )
    )
    def test_no_measurement_is_dropped(self, drawn):
        records = [
            record(method, seed, value, split=split, metric=metric)
            for method, seed, split, metric, value in drawn
        ]
        table = build(records, list(dict.fromkeys(r.method for r in records)), reductions=())
        found = {
            (method, column.split, column.metric, cell.seeds)
            for method, row in zip(table.methods, table.cells, strict=True)
            for column, cell in zip(table.columns, row, strict=True)
            if cell
        }
        keys = [(r.method, r.split, r.metric) for r in records]
        assert found == {(*key, keys.count(key)) for key in keys}
        printed = to_text(table)
        assert all(column.metric in printed and column.split in printed for column in table.columns)

    def test_records_of_other_methods_make_no_columns(self):
        records = [
            record("encoder", 0, 0.0063, metric="reconstruction_error"),
            record("natra", 0, 0.5),
        ]
        assert [column.metric for column in build(records, ["natra"]).columns] == ["accuracy"]
        assert [column.metric for column in build(records, ["encoder"]).columns] == [
            "reconstruction_error"
        ]

    def test_error_reduction_is_taken_seed_by_seed(self):
        records = runs("original", 0.2, 0.5) + runs("natra", 0.6, 0.6)
        table = build(records, ["original", "natra"])
        (_, (_, reduction)) = table.cells
        assert table.columns[1].metric == "error_reduction"
        # Seed 0: (0.8 - 0.4) / 0.8 = 0.5. Seed 1: (0.5 - 0.4) / 0.5 = 0.2.
        assert reduction.value == pytest.approx(0.35)
        assert (reduction.low, reduction.high) == pytest.approx(
            stats.t.interval(0.95, 1, loc=0.35, scale=0.15)
        )
        assert table.cells[0][1][:3] == (0.0, None, None)

    def test_error_reduction_without_an_error_to_reduce_is_undefined(self):
        table = build(runs("original", 1.0) + runs("natra", 0.9), ["original", "natra"])
        assert [row[1] for row in table.cells] == [None, None]

    def test_error_reduction_is_for_shifted_test_splits_where_there_are_any(self):
        splits = ("train", "val_shift", "test_iid", "test_shift", "snow")
        records = [
            record(m, 0, 0.5, split=split) for m in ("original", "natra") for split in splits
        ]

        def reduced(records):
            return [
                c.split
                for c in build(records, ["original", "natra"]).columns
                if c.metric == "error_reduction"
            ]

        assert reduced(records) == ["test_shift", "snow"]
        assert reduced([r for r in records if r.split in ("train", "test_iid")]) == ["test_iid"]
        assert reduced([r for r in records if r.method == "natra"]) == []

    def test_a_baseline_that_is_not_a_row_still_serves(self):
        table = build(runs("original", 0.2) + runs("natra", 0.6), ["natra"])
        assert table.cells[0][1].value == pytest.approx(0.5)

    def test_a_method_without_records_is_a_row_of_blanks(self):
        assert build(runs("natra", 0.5), ["natra", "adv"]).cells[1] == (None,)

    def test_a_repeated_record_counts_once_and_a_contradiction_is_an_error(self):
        twice = runs("natra", math.nan, 0.5)
        assert build(twice + [Record(*twice[1])], ["natra"]).cells[0][0].seeds == 2
        with pytest.raises(ValueError, match=r"natra, seed 1, accuracy on test_shift: 0.5 and 0.6"):
            build([*twice, record("natra", 1, 0.6)], ["natra"])

    def test_nothing_measured(self):
        table = build([], ["natra"])
        assert table.columns == () and table.cells == ((),)
        assert "natra" in to_text(table) and "natra" in to_markdown(table)
        with pytest.raises(ValueError, match="no figure"):
            metric_dots(table)


class TestDifferences:
    def test_only_shared_seeds_count(self):
        records = [record("natra", s, v) for s, v in [(0, 0.7), (1, 0.8), (5, 0.0)]]
        records += [record("original", s, v) for s, v in [(1, 0.1), (0, 0.2), (7, 0.9)]]
        cell = paired_difference(records, "natra", "original", "test_shift", "accuracy")
        # 0.5 and 0.7: mean 0.6, standard error 0.1, t(0.975; 1) = 12.706.
        assert cell[:4] == pytest.approx((0.6, 0.6 - 1.2706, 0.6 + 1.2706, 2), abs=1e-4)

    def test_one_shared_seed_has_no_interval_and_none_no_difference(self):
        records = (
            runs("natra", 0.7, 0.8) + runs("original", 0.2) + runs("adv", 0.4, split="val_iid")
        )
        cell = paired_difference(records, "natra", "original", "test_shift", "accuracy")
        assert cell.value == pytest.approx(0.5) and cell[1:] == (None, None, 1, None, False)
        assert paired_difference(records, "adv", "original", "test_shift", "accuracy") is None

    @given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=6))
    def test_agrees_with_the_paired_t_test(self, pairs):
        own, base = zip(*pairs, strict=True)
        cell = paired_difference(
            runs("a", *own) + runs("b", *base), "a", "b", "test_shift", "accuracy"
        )
        differences = [x - y for x, y in pairs]
        if max(differences) - min(differences) > 1e-6:
            test = stats.ttest_rel(own, base)
            expected = test.confidence_interval(0.95)
            assert cell[1:3] == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-9)
            assert cell.p == pytest.approx(test.pvalue, rel=1e-6)

    def test_table_of_differences(self):
        records = (
            runs("original", 0.2, 0.1)
            + runs("natra", 0.6, 0.7)
            + runs("natra", 3.0, 4.0, metric="steps")
        )
        table = build_differences(records, ["original", "natra"])
        assert table.methods == ("natra",)
        assert [(c.metric, c.unit, c.signed) for c in table.columns] == [
            ("accuracy", "points", True)
        ]  # no steps without a baseline
        assert find(table, "natra", "test_shift", "accuracy").value == "+50.0"
        assert "Each method minus original" in table.note and "one comparison" in table.note

    def test_the_sentence_claims_no_more_than_the_numbers(self):
        clear = runs("original", 0.10, 0.11, 0.09) + runs("natra", 0.75, 0.76, 0.77)
        unclear = runs("original", 0.10, 0.30, 0.20) + runs("natra", 0.15, 0.25, 0.35)
        lone = runs("original", 0.10) + runs("natra", 0.75, 0.05)
        place = ("natra", "original", "test_shift", "accuracy")
        assert compare(clear, *place).startswith(
            "On test_shift, accuracy is 10.0 % with original and 76.0 % with natra: "
            "a difference of +66.0"
        )
        assert compare(clear, *place).endswith(
            "p<0.001, 3 seeds), distinguishable from none in runs like these."
        )
        assert "not distinguishable from none in runs" in compare(unclear, *place)
        assert "75.0 % with natra" in compare(lone, *place) and "one seed" in compare(lone, *place)
        assert "not compared" in compare(clear, "adv", *place[1:])
        assert "difference of 0.0 points" in compare(clear, "original", *place[1:])


class TestPrinting:
    def test_shares_are_per_cent_cut_at_the_ends_and_others_keep_three_digits(self):
        records = runs("a", 0.998, 1.0, 0.999) + runs("b", 0.9, 0.8, 0.7)
        records += runs("a", 0.0063, metric="reconstruction_error") + runs(
            "b", 0.01234, metric="reconstruction_error"
        )
        table = build(records, ["a", "b"])
        assert find(table, "a", "test_shift", "accuracy")[:3] == ("99.9", "99.7", "100.0")
        assert find(table, "b", "test_shift", "accuracy")[:3] == ("80.0", "55.2", "100.0")
        assert [row[1].value for row in texts(table)] == ["0.0063", "0.0123"]
        assert [row[1].best for row in texts(table)] == [True, False]  # of an error the smaller one
        assert (
            find(table, "a", "test_shift", "worst16") is None
            and find(table, "c", "test_shift", "accuracy") is None
        )

    @pytest.mark.parametrize(
        "values, printed",
        [
            ((0, 0), ["0.0", "0.0"]),
            ((1234.5, 7), ["1234", "7"]),
            ((2e-9, 0), ["2.00e-09", "0.00e+00"]),
        ],
    )
    def test_numbers_of_any_size(self, values, printed):
        records = [record(m, 0, v, metric="loss") for m, v in zip("ab", values, strict=True)]
        assert [row[0].value for row in texts(build(records, ["a", "b"]))] == printed

    def test_bold_is_the_best_and_what_cannot_be_told_from_it(self):
        bounds = {"a": (0.1, 0.2), "b": (0.5, 0.7), "c": (0.65, 0.8), "d": (0.69, 0.95)}
        records = [
            record(m, 0, (low + high) / 2, low=low, high=high) for m, (low, high) in bounds.items()
        ]
        table = build(records, list(bounds))
        assert [row[0].best for row in texts(table)] == [False, True, True, True]
        assert "what its interval overlaps" in to_markdown(table)
        nothing = build(records[1:], list("bcd"))
        assert not any(row[0].best for row in texts(nothing)) and "Bold" not in to_markdown(nothing)

    def test_selected_columns(self):
        table = build(
            runs("a", 0.1, split="x") + runs("a", 0.2, split="y") + runs("b", 0.3, split="y"),
            ["a", "b"],
        )
        chosen = select(table, lambda column: column.split == "y")
        assert [column.split for column in chosen.columns] == ["y"]
        assert [row[0].value for row in chosen.cells] == [0.2, 0.3]

    def test_references_do_not_compete(self):
        records = runs("a", 0.5) + runs("b", 0.4) + runs("oracle", 0.9)
        table = build(records, ["a", "b", "oracle"], references=["oracle"])
        assert [row[0].best for row in texts(table)] == [True, False, False]
        assert [row[0].best for row in texts(build(records, ["a", "b", "oracle"]))] == [
            False,
            False,
            True,
        ]

    def test_an_unknown_metric_with_an_interval_is_a_share(self):
        records = [
            record("a", 0, 0.25, metric="escaped", low=0.2, high=0.3),
            record("a", 0, 0.25, metric="energy"),
        ]
        table = build(records, ["a"])
        assert {column.metric: column.unit for column in table.columns} == {
            "escaped": "%",
            "energy": "",
        }

    def test_not_a_number_is_said_and_never_best(self):
        table = build(runs("a", math.nan) + runs("b", 0.5) + runs("c", 0.4), ["a", "b", "c"])
        assert [row[0].value for row in texts(table)] == ["nan", "50.0", "40.0"]
        assert [row[0].best for row in texts(table)] == [False, True, False]

    def test_single_seeds_among_others_are_marked(self):
        table = build(runs("a", 0.5, 0.6) + runs("b", 0.5, low=0.4, high=0.6), ["a", "b"])
        assert [row[0].single for row in texts(table)] == [False, True]
        assert "†" in table.note and "50.0 [40.0,  60.0]†" in to_text(table)

    def test_text_is_aligned(self):
        records = runs("a", 1.0, low=0.994, high=1.0) + runs(
            "longer name", 0.054, low=0.038, high=0.076
        )
        assert to_text(build(records, ["a", "longer name"], reductions=())).splitlines() == [
            "method              accuracy (%)",
            "                      test_shift",
            "                         n = 597",
            "-----------  -------------------",
            "a            100.0 [99.4, 100.0]",
            "longer name    5.4 [ 3.8,   7.6]",
            "",
            "One seed, with the 95 % interval over the examples (Wilson).",
        ]

    @given(st.integers(20, 200))
    def test_folding_keeps_every_column_and_the_width(self, width):
        records = [
            record(m, 0, 0.5, split=f"split{i}", low=0.4, high=0.6)
            for m in ("first", "second")
            for i in range(6)
        ]
        table = build(records, ["first", "second"])
        lines = to_text(table._replace(note=""), width).splitlines()
        assert max(map(len, lines)) <= max(width, 6 + 2 + 17)
        assert all(sum(f"split{i}" in line for line in lines) == 1 for i in range(6))

    def test_markdown_by_hand(self):
        records = runs("original", 0.1) + runs("natra", 0.75)
        assert to_markdown(build(records, ["original", "natra"], reductions=())) == (
            "| method | accuracy (%), test_shift, n = 597 |\n"
            "| --- | ---: |\n"
            "| original | 10.0 |\n"
            "| natra | **75.0** |\n"
            "\n"
            "One seed. Bold: the best of its column.\n"
        )

    def test_a_plain_table_prints_too(self):
        table = Plain(("direction", "sigma"), (("hue|light", "0.5"),), "A note.")
        assert to_markdown(table).splitlines()[2] == r"| hue\|light | 0.5 |"
        assert to_text(table).splitlines()[2:] == ["hue|light    0.5", "", "A note."]

    @given(st.text(max_size=20), st.text(max_size=20))
    def test_no_name_breaks_a_table(self, method, metric):
        table = build([record(method, 0, 0.5, metric=metric)], [method], reductions=())
        lines = to_markdown(table).split("\n")
        assert (
            len([line for line in lines[:3] if line.startswith("| ") and line.endswith(" |")]) == 3
        )
        assert "<" not in "".join(lines)
        assert all(line.isprintable() for line in to_text(table).split("\n"))
        assert len(to_text(table).split("\n")) == 8

    @pytest.mark.parametrize(
        "name, escaped",
        [
            ("natra_oa", "natra_oa"),
            ("_x_", r"\_x\_"),
            ("<script>", "&lt;script&gt;"),
            ("[a](javascript:b)", r"[a\](javascript:b)"),
            ("a\n\n# b", r"a\\n\\n# b"),
            ("`$x$`", r"\`\$x\$\`"),
            ("\x1b[31m", r"\\x1b[31m"),
            ("a\u202eb\ud800\0", r"a\\u202eb\\ud800\\x00"),
            ("https://a.b www.c.d", "https&#58;//a.b www&#46;c.d"),
            ("é 中文 👩‍👩‍👧", "é 中文 👩‍👩‍👧"),
        ],
    )
    def test_markdown_shows_a_name_as_it_is(self, name, escaped):
        assert escape_markdown(name) == escaped

    def test_glossary_explains_what_is_in_the_table(self):
        table = runs("original", 0.2) + runs("natra", 0.6) + runs("natra", 1, metric="own")
        table = build(
            table + runs("natra", 1, metric="worst8") + runs("natra", 1, metric="worst16"),
            ["original", "natra"],
        )
        assert [name for name, _ in glossary(table)] == ["accuracy", "worstN", "error_reduction"]
        assert [column.metric for column in table.columns] == [
            "accuracy",
            "worst16",
            "worst8",
            "error_reduction",
            "own",
        ]

    def test_plain_has_a_name_for_each_row(self):
        assert plain(build(runs("a", 0.5), ["a", "b"])).rows == (("a", "50.0"), ("b", "-"))
