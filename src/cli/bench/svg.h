/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pictures of `catnap bench --html`, as SVG inside HTML. Colours come from the style sheet
 * (bench.css): whatever belongs to a mode has the class m<i>, of its
 * colour. Lines of kernel modes are
 * dashed and those of the peer dotted, so that colour is never all that tells them apart.
 */
#ifndef CLI_BENCH_SVG_H
#define CLI_BENCH_SVG_H

#include "cli/bench/bench.h"

/* So many colours, those of bench.css. */
#define SVG_COLOURS 17

/* Writes text, with what HTML has a meaning for escaped. */
void bench_html_text(FILE *out, const char *s);
/* Writes a time as "7.2 us" (with the Greek letter), "1.30 ms"; three digits at most. Returns
 * @buf. */
const char *bench_html_ns(char *buf, size_t size, double ns);
/* Returns the number of its colour, which no other mode of @cfg has. */
unsigned int bench_mode_colour(const struct bench_cfg *cfg, const struct bench_mode *mode);
/* Returns the mode's name in pictures, where room is scarce: without "user:" if what follows is
 * unmistakable. */
const char *bench_mode_label(const struct bench_mode *mode);

/* @cells: the @n of one condition. Each writes one <svg>, or nothing if there is nothing to show;
 * true if it has. */
/* Draws latency over the percentile, on an axis on which each further nine takes the same room. */
bool bench_svg_percentiles(FILE *out, const struct bench_cfg *cfg, struct bench_cell *cells,
			   size_t n);
/* Draws median latency over processor time, both logarithmic; a thin line goes on to the 99th
 * percentile. The modes that no other one beats in both are joined. */
bool bench_svg_tradeoff(FILE *out, const struct bench_cfg *cfg, struct bench_cell *cells, size_t n);

struct bench_svg_bar {
	const struct bench_mode *mode;
	double value;
	char text[32]; /* the text beside it */
};

/* Draws bars from zero. @mark: where a line is drawn, 0: nowhere. */
void bench_svg_bars(FILE *out, const struct bench_cfg *cfg, const char *title,
		    const struct bench_svg_bar *bars, size_t n, double mark);
/* Halts and the window that each of them found, one after the other. */
void bench_svg_windows(FILE *out, const struct bench_cfg *cfg, const struct bench_cell *c);

#endif
