/* SPDX-License-Identifier: Apache-2.0 */
/* See screen.h. */
#define NCURSES_NOMACROS 1
#include <curses.h>
#include <dlfcn.h>
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/ctl/screen.h"

/* Each of ncurses' functions of that name. */
#define CURSES_FUNCTIONS(X)   \
	X(newterm)            \
	X(delscreen)          \
	X(set_term)           \
	X(endwin)             \
	X(def_prog_mode)      \
	X(reset_prog_mode)    \
	X(cbreak)             \
	X(noecho)             \
	X(keypad)             \
	X(nodelay)            \
	X(set_escdelay)       \
	X(curs_set)           \
	X(has_colors)         \
	X(start_color)        \
	X(use_default_colors) \
	X(init_pair)          \
	X(COLOR_PAIR)         \
	X(resizeterm)         \
	X(newwin)             \
	X(delwin)             \
	X(werase)             \
	X(wattrset)           \
	X(wmove)              \
	X(waddnstr)           \
	X(wclrtoeol)          \
	X(wgetch)             \
	X(wrefresh)           \
	X(wresize)            \
	X(clearok)            \
	X(getmaxx)            \
	X(getmaxy)

struct screen {
#define X(name) __typeof__(&name) name;
	CURSES_FUNCTIONS(X)
#undef X
	SCREEN *terminal;
	WINDOW *window;
	bool colours, blocks;
};

static int load(struct screen *s, const char **why)
{
	static const struct {
		const char *name;
		size_t offset;
	} functions[] = {
#define X(name) {#name, offsetof(struct screen, name)},
		CURSES_FUNCTIONS(X)
#undef X
	};
	void *lib = dlopen("libncursesw.so.6", RTLD_NOW | RTLD_LOCAL);

	*why = lib ? NULL : dlerror();
	for (size_t i = 0; lib && i < sizeof(functions) / sizeof(functions[0]); i++) {
		void *function = dlsym(lib, functions[i].name);

		memcpy((char *)s + functions[i].offset, &function, sizeof(function));
		if (!function && !*why)
			*why = functions[i].name;
	}
	return *why ? -ENOPKG : 0;
}

static void set_up(struct screen *s)
{
	s->cbreak();
	s->noecho();
	s->keypad(s->window, TRUE);
	s->nodelay(s->window, TRUE);
	s->set_escdelay(25);
	s->curs_set(0);
	s->colours = s->has_colors() && s->start_color() == OK && s->use_default_colors() == OK;
	if (s->colours) {
		s->init_pair(1, COLOR_GREEN, -1);
		s->init_pair(2, COLOR_RED, -1);
	}
	s->blocks = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

int screen_open(struct screen **out, const char **why)
{
	struct screen *s = calloc(1, sizeof(*s));
	int ret = s ? load(s, why) : -ENOMEM;

	*out = s;
	if (!s)
		*why = strerror(ENOMEM);
	if (ret < 0 || !s->newterm)
		goto failed;
	/* Characters alone: numbers are written as everywhere. */
	setlocale(LC_CTYPE, "");
	s->terminal = s->newterm(NULL, stdout, stdin);
	ret = -ENOTTY;
	*why = "the terminal is of a kind that is not known (TERM)";
	if (!s->terminal)
		goto failed;
	s->window = s->newwin(0, 0, 0, 0);
	if (!s->window)
		goto failed;
	set_up(s);
	return 0;
failed:
	screen_close(out);
	return ret;
}

void screen_close(struct screen **out)
{
	struct screen *s = *out;

	*out = NULL;
	if (!s)
		return;
	if (s->window)
		s->delwin(s->window);
	if (s->terminal) {
		s->endwin();
		s->delscreen(s->terminal);
	}
	free(s);
}

void screen_suspend(struct screen *s)
{
	s->def_prog_mode();
	s->endwin();
}

void screen_resume(struct screen *s)
{
	s->reset_prog_mode();
	screen_resize(s);
}

void screen_resize(struct screen *s)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col) {
		s->resizeterm(size.ws_row, size.ws_col);
		s->wresize(s->window, size.ws_row, size.ws_col);
	}
	s->clearok(s->window, TRUE);
}

int screen_rows(const struct screen *s)
{
	return s->getmaxy(s->window);
}

int screen_columns(const struct screen *s)
{
	return s->getmaxx(s->window);
}

bool screen_has_blocks(const struct screen *s)
{
	return s->blocks;
}

void screen_erase(struct screen *s)
{
	s->werase(s->window);
}

static void set_look(struct screen *s, enum screen_look look)
{
	static const int looks[] = {[LOOK_BOLD] = (int)A_BOLD,
				    [LOOK_HEAD] = (int)A_REVERSE,
				    [LOOK_CHOSEN] = (int)(A_BOLD | A_UNDERLINE),
				    [LOOK_DIM] = (int)A_DIM,
				    [LOOK_GOOD] = (int)A_BOLD,
				    [LOOK_BAD] = (int)A_BOLD};
	int attribute = looks[look];

	if (s->colours && look == LOOK_GOOD)
		attribute = (int)s->COLOR_PAIR(1);
	if (s->colours && look == LOOK_BAD)
		attribute |= (int)s->COLOR_PAIR(2);
	s->wattrset(s->window, attribute);
}

/* Returns how many bytes of @text take up to @columns. All text here is ASCII, and block
 * characters. */
static int bytes_of(const char *text, int columns)
{
	int n = 0;

	for (; text[n]; n++)
		if ((text[n] & 0xc0) != 0x80 && columns-- == 0)
			break;
	return n;
}

void screen_put(struct screen *s, int row, int column, enum screen_look look, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	if (row < 0 || row >= screen_rows(s) || column < 0 || column >= screen_columns(s))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	set_look(s, look);
	s->wmove(s->window, row, column);
	s->waddnstr(s->window, text, bytes_of(text, screen_columns(s) - column));
	s->wattrset(s->window, 0);
}

void screen_line(struct screen *s, int row, enum screen_look look, const char *text)
{
	screen_put(s, row, 0, look, "%-*s", screen_columns(s), text);
}

void screen_show(struct screen *s)
{
	s->wmove(s->window, 0, 0);
	s->wrefresh(s->window);
}

int screen_key(struct screen *s)
{
	static const struct {
		int from, to;
	} keys[] = {{KEY_UP, KEYS_UP},	     {KEY_DOWN, KEYS_DOWN},	{KEY_LEFT, KEYS_LEFT},
		    {KEY_RIGHT, KEYS_RIGHT}, {KEY_PPAGE, KEYS_PAGE_UP}, {KEY_NPAGE, KEYS_PAGE_DOWN},
		    {KEY_HOME, KEYS_HOME},   {KEY_END, KEYS_END},	{KEY_ENTER, '\n'}};
	int key = s->wgetch(s->window);

	if (key == ERR)
		return KEYS_NONE;
	if (key < 0x100)
		return key == '\r' ? '\n' : key;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (keys[i].from == key)
			return keys[i].to;
	return KEYS_OTHER;
}
