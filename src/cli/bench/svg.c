/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pictures (svg.h). Each is WIDTH units wide and is shown at about that many pixels, on a
 * telephone as on a desk: so its letters always have the size of the text around it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench/svg.h"

#define WIDTH  340.0
#define HEIGHT 236.0
#define LEFT   44.0
#define TOP    10.0
#define BOTTOM (HEIGHT - 34.0)
#define LINE   11.5 /* from one line of text to the next */
#define LETTER 5.7  /* about how wide one is */
#define LABELS 100.0

void bench_html_text(FILE *out, const char *s)
{
	for (; *s; s++) {
		switch (*s) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			/* Not what no document may hold. */
			if ((unsigned char)*s >= ' ')
				fputc(*s, out);
		}
	}
}

const char *bench_html_ns(char *buf, size_t size, double ns)
{
	static const char *const units[] = {"ns", "µs", "ms", "s"};
	unsigned int u = 0;

	while (u < 3 && ns >= 999.5) {
		ns /= 1000;
		u++;
	}
	snprintf(buf, size, "%.*f %s",
		 u == 0 || ns >= 99.95 ? 0
		 : ns >= 9.995	       ? 1
				       : 2,
		 ns, units[u]);
	return buf;
}

/* The modes that are there without being asked for: their colours, those of any two that people
 * compare far apart. */
static const struct {
	const char *name;
	unsigned int colour;
} known[] = {{"user:adaptive", 0},
	     {"kernel:200us", 4},
	     {"user:kernel", 2},
	     {"user:off", 6},
	     {"kernel:0", 3},
	     {"user:always", 7},
	     {"user:fixed", 5},
	     {"qemu", 8},
	     {"user:adaptive:latency", 9},
	     {"user:adaptive:power", 10},
	     {"user:adaptive/thread", 1},
	     {"kernel:200us/vcpu", 11}};

static int known_colour(const struct bench_mode *mode)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i].name, mode->name) == 0)
			return (int)known[i].colour;
	return -1;
}

unsigned int bench_mode_colour(const struct bench_cfg *cfg, const struct bench_mode *mode)
{
	bool taken[SVG_COLOURS] = {false};
	unsigned int next = 0;

	_Static_assert(SVG_COLOURS >= BENCH_MODES, "each mode has a colour of its own");
	if (known_colour(mode) >= 0)
		return (unsigned int)known_colour(mode);
	for (unsigned int i = 0; i < cfg->n_modes; i++)
		if (known_colour(&cfg->modes[i]) >= 0)
			taken[known_colour(&cfg->modes[i])] = true;
	/* The others have what is left, in their order. */
	for (const struct bench_mode *m = cfg->modes; m <= mode; m++) {
		if (known_colour(m) >= 0)
			continue;
		while (next < SVG_COLOURS - 1 && taken[next])
			next++;
		taken[next] = true;
	}
	return next;
}

const char *bench_mode_label(const struct bench_mode *mode)
{
	return strncmp(mode->name, "user:adaptive:", 14) == 0 ? mode->name + 5 : mode->name;
}

static const char *kind(const struct bench_mode *mode)
{
	return mode->peer ? "peer" : mode->irqchip == CATNAP_IRQCHIP_KERNEL ? "kernel" : "user";
}

static void open_class(FILE *out, const char *element, const struct bench_cfg *cfg,
		       const struct bench_mode *mode)
{
	fprintf(out, "<%s class=\"m%u %s\"", element, bench_mode_colour(cfg, mode), kind(mode));
}

static void open_svg(FILE *out, double height, const char *title)
{
	fprintf(out, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", WIDTH, height);
	bench_html_text(out, title);
	fputs("\">\n", out);
}

static void text(FILE *out, const char *class, double x, double y, const char *anchor,
		 const char *s)
{
	fprintf(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", class, x, y,
		anchor);
	bench_html_text(out, s);
	fputs("</text>\n", out);
}

static void grid(FILE *out, double x1, double y1, double x2, double y2)
{
	fprintf(out, "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", x1,
		y1, x2, y2);
}

/* -- a logarithmic axis ----------------------------------------------------------------------- */

struct scale {
	double low, high; /* ns, above 0 */
	double from, to;  /* where these are */
};

static double at(const struct scale *s, double value)
{
	double v = value < s->low ? s->low : value > s->high ? s->high : value;

	return s->from + (s->to - s->from) * log(v / s->low) / log(s->high / s->low);
}

/* Returns the scale of an axis that holds all of @low to @high, and is not so short that a
 * difference of a few per cent looks like much. */
static struct scale scale_for(double low, double high, double from, double to)
{
	struct scale s = {.low = low > 1 ? low : 1, .high = high, .from = from, .to = to};

	if (s.high < s.low * 4) {
		double middle = sqrt(s.low * (s.high > s.low ? s.high : s.low));

		s.low = middle / 2;
		s.high = middle * 2;
	}
	s.low /= 1.12;
	s.high *= 1.12;
	return s;
}

/* Returns whether there is a tick: at 1, 2 and 5, or, where that is too many, at 1 or at every
 * second power of ten. */
static bool is_tick(const struct scale *s, double mantissa, int power)
{
	double decades = log10(s->high / s->low);

	if (decades > 5)
		return mantissa < 1.5 && power % 2 == 0;
	return decades > 1.8 ? mantissa < 1.5 : true;
}

/* Draws an axis. Vertical ones have their text on the left, horizontal ones below. */
static void log_axis(FILE *out, const struct scale *s, bool vertical, double right)
{
	static const double mantissas[] = {1, 2, 5};

	for (int power = 0; power < 12; power++) {
		for (int i = 0; i < 3; i++) {
			double v = mantissas[i] * pow(10, power), p;
			char label[32], *dot, *unit;

			if (v < s->low || v > s->high || !is_tick(s, mantissas[i], power))
				continue;
			p = at(s, v);
			bench_html_ns(label, sizeof(label), v);
			/* "10.0" is "10". */
			dot = strchr(label, '.');
			unit = dot ? strchr(dot, ' ') : NULL;
			if (unit)
				memmove(dot, unit, strlen(unit) + 1);
			if (vertical) {
				grid(out, LEFT, p, right, p);
				text(out, "tick", LEFT - 4, p + 4, "end", label);
			} else {
				grid(out, p, TOP, p, BOTTOM);
				text(out, "tick", p, BOTTOM + 14, "middle", label);
			}
		}
	}
}

/* -- labels that keep clear of each other ----------------------------------------------------- */

struct label {
	double x, y;   /* of what it names */
	double tx, ty; /* of the text */
	bool left;     /* the text ends there, rather than begins */
	const struct bench_mode *mode;
};

static int by_y(const void *a, const void *b)
{
	const struct label *x = a, *y = b;

	return (x->y > y->y) - (x->y < y->y);
}

/* Spreads the labels, one below the other on the right, each as near as can be to the end of its
 * line. */
static void spread(struct label *labels, size_t n, double lowest)
{
	double next = TOP + 4;

	qsort(labels, n, sizeof(*labels), by_y);
	for (size_t i = 0; i < n; i++) {
		labels[i].ty = labels[i].y > next ? labels[i].y : next;
		next = labels[i].ty + LINE;
	}
	for (size_t i = n; i-- > 0; lowest = labels[i].ty - LINE)
		if (labels[i].ty > lowest)
			labels[i].ty = lowest;
}

static void put_label(FILE *out, const struct bench_cfg *cfg, const struct label *l)
{
	open_class(out, "g", cfg, l->mode);
	fprintf(out,
		"><path class=\"lead\" d=\"M%.1f %.1fL%.1f %.1f\"/><text class=\"name\" x=\"%.1f\" "
		"y=\"%.1f\" text-anchor=\"%s\">",
		l->x, l->y, l->left ? l->tx + 1 : l->tx - 1, l->ty, l->tx, l->ty + 3.8,
		l->left ? "end" : "start");
	bench_html_text(out, bench_mode_label(l->mode));
	fputs("</text></g>\n", out);
}

/* -- latency over the percentile -------------------------------------------------------------- */

/* Returns where the fraction @q of samples is, of @nines in all. */
static double nines_at(double q, double nines, double right)
{
	double p = q >= 1 ? nines : -log10(1 - q);

	return LEFT + (right - LEFT) * (p < nines ? p : nines) / nines;
}

static void nines_axis(FILE *out, double nines, double right)
{
	static const struct {
		double q;
		const char *label;
	} ticks[] = {{0, "0"},	      {0.5, "50"},	 {0.9, "90"},	     {0.99, "99"},
		     {0.999, "99.9"}, {0.9999, "99.99"}, {0.99999, "99.999"}};

	for (size_t i = 0; i < sizeof(ticks) / sizeof(ticks[0]); i++) {
		double x = nines_at(ticks[i].q, nines, right);

		if (ticks[i].q > 0 && -log10(1 - ticks[i].q) > nines + 0.01)
			break;
		grid(out, x, TOP, x, BOTTOM);
		text(out, "tick", x, BOTTOM + 14, "middle", ticks[i].label);
	}
	text(out, "axis", (LEFT + right) / 2, BOTTOM + 28, "middle", "percentile");
}

static void curve(FILE *out, const struct bench_cfg *cfg, struct bench_cell *c,
		  const struct scale *y, double nines, double right, struct label *end)
{
	char p50[32], p99[32];
	const int steps = 64;
	double x = LEFT, py = 0;

	open_class(out, "g", cfg, c->mode);
	fputs("><path class=\"line\" d=\"", out);
	for (int i = 0; i <= steps; i++) {
		double q = 1 - pow(10, -nines * i / steps);

		x = nines_at(q, nines, right);
		py = at(y, (double)bench_series_quantile(&c->latency, q));
		fprintf(out, "%c%.1f %.1f", i ? 'L' : 'M', x, py);
	}
	fputs("\"/><title>", out);
	bench_html_text(out, c->mode->name);
	fprintf(out, ": p50 %s, p99 %s</title></g>\n",
		bench_html_ns(p50, sizeof(p50), (double)bench_series_quantile(&c->latency, 0.5)),
		bench_html_ns(p99, sizeof(p99), (double)bench_series_quantile(&c->latency, 0.99)));
	*end = (struct label){.x = x, .y = py, .tx = right + 10, .mode = c->mode};
}

bool bench_svg_percentiles(FILE *out, const struct bench_cfg *cfg, struct bench_cell *cells,
			   size_t n)
{
	struct label labels[BENCH_MODES];
	double low = INFINITY, high = 0, nines, right = WIDTH - LABELS;
	size_t fewest = SIZE_MAX, shown = 0;
	struct scale y;

	for (size_t i = 0; i < n; i++) {
		double least, most;

		if (bench_cell_empty(&cells[i]) || cells[i].latency.n < 10)
			continue;
		if (cells[i].latency.n < fewest)
			fewest = cells[i].latency.n;
		least = (double)bench_series_quantile(&cells[i].latency, 0);
		most = (double)bench_series_quantile(&cells[i].latency, 1);
		low = least < low ? least : low;
		high = most > high ? most : high;
	}
	if (fewest == SIZE_MAX)
		return false;
	/* The last point drawn still has a few samples above it. */
	nines = log10((double)fewest / 5);
	nines = nines < 1 ? 1 : nines > 5 ? 5 : nines;
	high = 0;
	for (size_t i = 0; i < n; i++) {
		double most = (double)bench_series_quantile(&cells[i].latency, 1 - pow(10, -nines));

		if (!bench_cell_empty(&cells[i]) && most > high)
			high = most;
	}
	y = scale_for(low, high, BOTTOM, TOP);
	open_svg(out, HEIGHT, "Latency at each percentile, a line for each mode");
	log_axis(out, &y, true, right);
	nines_axis(out, nines, right);
	for (size_t i = 0; i < n && shown < BENCH_MODES; i++)
		if (!bench_cell_empty(&cells[i]) && cells[i].latency.n >= 10)
			curve(out, cfg, &cells[i], &y, nines, right, &labels[shown++]);
	spread(labels, shown, BOTTOM + 8);
	for (size_t i = 0; i < shown; i++)
		put_label(out, cfg, &labels[i]);
	fputs("</svg>\n", out);
	return true;
}

/* -- latency over processor time -------------------------------------------------------------- */

struct point {
	double cpu, p50, p99; /* ns */
	const struct bench_mode *mode;
};

static size_t points(struct bench_cell *cells, size_t n, struct point *points)
{
	size_t found = 0;

	for (size_t i = 0; i < n && found < BENCH_MODES; i++) {
		struct bench_cell *c = &cells[i];

		if (bench_cell_empty(c) || !c->has_cpu || !c->events || !c->cpu_ns || !c->latency.n)
			continue;
		points[found++] = (struct point){
			.cpu = (double)c->cpu_ns / (double)c->events,
			.p50 = (double)bench_series_quantile(&c->latency, 0.5),
			.p99 = (double)bench_series_quantile(&c->latency, 0.99),
			.mode = c->mode,
		};
	}
	return found;
}

static int by_cpu(const void *a, const void *b)
{
	const struct point *x = a, *y = b;

	return (x->cpu > y->cpu) - (x->cpu < y->cpu);
}

/* Steps along those that nothing to their left is below. */
static void front(FILE *out, const struct point *p, size_t n, const struct scale *x,
		  const struct scale *y)
{
	double best = INFINITY;
	bool first = true;

	fputs("<path class=\"front\" d=\"", out);
	for (size_t i = 0; i < n; i++) {
		if (p[i].p50 >= best)
			continue;
		if (first)
			fprintf(out, "M%.1f %.1f", at(x, p[i].cpu), TOP);
		else
			fprintf(out, "H%.1f", at(x, p[i].cpu));
		fprintf(out, "V%.1f", at(y, p[i].p50));
		best = p[i].p50;
		first = false;
	}
	fprintf(out, "H%.1f\"/>\n", x->to);
}

static bool overlaps(const struct label *a, const struct label *b)
{
	double wa = (double)strlen(bench_mode_label(a->mode)) * LETTER;
	double wb = (double)strlen(bench_mode_label(b->mode)) * LETTER;
	double la = a->left ? a->tx - wa : a->tx, lb = b->left ? b->tx - wb : b->tx;

	return la < lb + wb + 3 && lb < la + wa + 3 && fabs(a->ty - b->ty) < LINE - 0.5;
}

static bool covers(const struct label *l, double x, double y)
{
	double w = (double)strlen(bench_mode_label(l->mode)) * LETTER,
	       left = l->left ? l->tx - w : l->tx;

	return x > left - 5 && x < left + w + 5 && fabs(l->ty - y) < 9;
}

/* Places a label beside its point, or, if others are there, a little higher or lower: the nearest
 * place that is free. */
static void place(struct label *labels, size_t i, size_t n)
{
	struct label *l = &labels[i];
	double w = (double)strlen(bench_mode_label(l->mode)) * LETTER;

	for (int step = 0; step < 60; step++) {
		int tier = (step + 3) / 4; /* four places in each */
		double away = tier * 6.0 * ((step & 2) ? 1 : -1);
		bool free = true;

		l->left = (step & 1) != (l->x > WIDTH * 0.62);
		l->tx = l->x + (l->left ? -11 : 11);
		l->ty = l->y + away;
		if (l->ty < TOP + 2 || l->ty > BOTTOM - 4 ||
		    (l->left ? l->tx - w < LEFT : l->tx + w > WIDTH - 2))
			continue;
		for (size_t k = 0; k < n && free; k++)
			free = !covers(l, labels[k].x, labels[k].y) &&
			       (k >= i || !overlaps(l, &labels[k]));
		if (free)
			return;
	}
}

static void put_point(FILE *out, const struct bench_cfg *cfg, const struct point *p, double x,
		      double y, double y99)
{
	bool reference = strcmp(p->mode->name, "kernel:200us") == 0 ||
			 strcmp(p->mode->name, "kernel:0") == 0;
	char cpu[32], p50[32], p99[32];

	open_class(out, "g", cfg, p->mode);
	fprintf(out, "><path class=\"reach\" d=\"M%.1f %.1fV%.1fm-3 0h6\"/>", x, y, y99);
	/* The two that people know are squares with a ring around them. */
	if (reference)
		fprintf(out,
			"<rect class=\"dot\" x=\"%.1f\" y=\"%.1f\" width=\"8\" height=\"8\"/>"
			"<circle class=\"ring\" cx=\"%.1f\" cy=\"%.1f\" r=\"8\"/>",
			x - 4, y - 4, x, y);
	else
		fprintf(out, "<circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"4.2\"/>", x, y);
	fputs("<title>", out);
	bench_html_text(out, p->mode->name);
	fprintf(out, ": %s of processor time for each event, p50 %s, p99 %s</title></g>\n",
		bench_html_ns(cpu, sizeof(cpu), p->cpu), bench_html_ns(p50, sizeof(p50), p->p50),
		bench_html_ns(p99, sizeof(p99), p->p99));
}

bool bench_svg_tradeoff(FILE *out, const struct bench_cfg *cfg, struct bench_cell *cells, size_t n)
{
	double low = INFINITY, high = 0, middle = 0, least = INFINITY, most = 0, right = WIDTH - 8;
	struct label labels[BENCH_MODES];
	struct point p[BENCH_MODES];
	struct scale x, y;

	n = points(cells, n, p);
	if (n < 2)
		return false;
	qsort(p, n, sizeof(p[0]), by_cpu);
	for (size_t i = 0; i < n; i++) {
		low = p[i].p50 < low ? p[i].p50 : low;
		high = p[i].p99 > high ? p[i].p99 : high;
		least = p[i].cpu < least ? p[i].cpu : least;
		most = p[i].cpu > most ? p[i].cpu : most;
	}
	/* The differences of the medians must be seen; the tail is the other picture's. */
	for (size_t i = 0; i < n; i++)
		middle = p[i].p50 > middle ? p[i].p50 : middle;
	high = high < middle * 6 ? high : middle * 6;
	x = scale_for(least / 1.2, most * 1.2, LEFT, right);
	y = scale_for(low / 1.2, high, BOTTOM, TOP);
	open_svg(out, HEIGHT,
		 "Median latency against processor time for each event, a point for each mode");
	log_axis(out, &y, true, right);
	log_axis(out, &x, false, right);
	text(out, "axis", (LEFT + right) / 2, BOTTOM + 28, "middle",
	     "processor time for each event");
	front(out, p, n, &x, &y);
	for (size_t i = 0; i < n; i++) {
		labels[i] = (struct label){
			.x = at(&x, p[i].cpu), .y = at(&y, p[i].p50), .mode = p[i].mode};
		put_point(out, cfg, &p[i], labels[i].x, labels[i].y, at(&y, p[i].p99));
	}
	for (size_t i = 0; i < n; i++) {
		place(labels, i, n);
		put_label(out, cfg, &labels[i]);
	}
	fputs("</svg>\n", out);
	return true;
}

/* -- bars ------------------------------------------------------------------------------------- */

void bench_svg_bars(FILE *out, const struct bench_cfg *cfg, const char *title,
		    const struct bench_svg_bar *bars, size_t n, double mark)
{
	const double left = 112, right = WIDTH - 62, step = 19;
	double most = mark > 0 ? mark : 1e-9, height = (double)n * step + 12;

	for (size_t i = 0; i < n; i++)
		most = bars[i].value > most ? bars[i].value : most;
	open_svg(out, height, title);
	for (size_t i = 0; i < n; i++) {
		double y = 6 + (double)i * step, width = (right - left) * bars[i].value / most;

		open_class(out, "g", cfg, bars[i].mode);
		fprintf(out, "><text class=\"name\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">",
			left - 6, y + 12);
		bench_html_text(out, bench_mode_label(bars[i].mode));
		fprintf(out,
			"</text><rect class=\"bar\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
			"height=\"13\"/>",
			left, y + 1, width > 0.8 ? width : 0.8);
		fprintf(out, "<text class=\"value\" x=\"%.1f\" y=\"%.1f\">", left + width + 5,
			y + 12);
		bench_html_text(out, bars[i].text);
		fputs("</text></g>\n", out);
	}
	if (mark > 0)
		fprintf(out, "<path class=\"mark\" d=\"M%.1f 2V%.1f\"/>\n",
			left + (right - left) * mark / most, height - 2);
	fputs("</svg>\n", out);
}

/* -- the window over time --------------------------------------------------------------------- */

void bench_svg_windows(FILE *out, const struct bench_cfg *cfg, const struct bench_cell *c)
{
	const double right = WIDTH - 6, floor = BOTTOM - 8; /* the windows of 0 lie below */
	double low = INFINITY, high = 0, last = -1;
	char title[160];
	struct scale y;

	for (uint32_t i = 0; i < c->n_windows; i++) {
		const struct bench_window *w = &c->windows[i];
		double window = (double)w->window_ns, halt = (double)w->halt_ns;

		low = halt < low ? halt : window > 0 && window < low ? window : low;
		high = halt > high ? halt : high;
		high = window > high ? window : high;
	}
	y = scale_for(low, high, floor, TOP);
	snprintf(title, sizeof(title), "%s: halts, and the window that each was polled for",
		 c->mode->name);
	open_svg(out, HEIGHT, title);
	log_axis(out, &y, true, right);
	grid(out, LEFT, BOTTOM, right, BOTTOM);
	text(out, "tick", LEFT - 4, BOTTOM + 4, "end", "0");
	text(out, "axis", (LEFT + right) / 2, BOTTOM + 20, "middle", "one halt after the other");
	for (uint32_t i = 0; i < c->n_windows; i++) {
		const struct bench_window *w = &c->windows[i];

		fprintf(out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"2\"/>\n",
			w->halt_ns <= w->window_ns ? "caught" : "slept",
			LEFT + (right - LEFT) * (i + 0.5) / c->n_windows,
			at(&y, (double)w->halt_ns));
	}
	open_class(out, "g", cfg, c->mode);
	fputs("><path class=\"window\" d=\"", out);
	for (uint32_t i = 0; i < c->n_windows; i++) {
		double window = (double)c->windows[i].window_ns;
		double py = window > 0 ? at(&y, window) : BOTTOM;

		if (i == 0)
			fprintf(out, "M%.1f %.1f", LEFT, py);
		else if (fabs(py - last) > 0.05)
			fprintf(out, "V%.1f", py);
		last = py;
		fprintf(out, "H%.1f", LEFT + (right - LEFT) * (i + 1) / c->n_windows);
	}
	fputs("\"/></g>\n</svg>\n", out);
}
