/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal as a screen of characters, with ncurses. It is loaded when a screen is opened, as
 * libcurl is (client.h).
 *
 * Signals are the caller's: blocked while the screen is open, so that ncurses' own handlers never
 * run, and a terminal is given back wherever the program ends.
 */
#ifndef CLI_CTL_SCREEN_H
#define CLI_CTL_SCREEN_H

#include <stdbool.h>
#include <stddef.h>

struct screen;

enum screen_look { LOOK_PLAIN, LOOK_BOLD, LOOK_HEAD, LOOK_CHOSEN, LOOK_DIM, LOOK_GOOD, LOOK_BAD };

/* Beside characters: what screen_key() returns. */
enum screen_key {
	KEYS_NONE = -1,
	KEYS_UP = 0x1000,
	KEYS_DOWN,
	KEYS_LEFT,
	KEYS_RIGHT,
	KEYS_PAGE_UP,
	KEYS_PAGE_DOWN,
	KEYS_HOME,
	KEYS_END,
	KEYS_OTHER,
};

/* Takes the terminal. Returns 0; -ENOPKG: ncurses is not there; -ENOTTY: the terminal is of no kind
 * that it knows. *@why is a sentence. */
int screen_open(struct screen **s, const char **why);
/* Gives the terminal back as it was; *@s becomes NULL, which it may be. */
void screen_close(struct screen **s);
/* Gives it back, and takes it again, for a stop. */
void screen_suspend(struct screen *s);
void screen_resume(struct screen *s);
/* Takes the terminal's size, which may be another now. */
void screen_resize(struct screen *s);

int screen_rows(const struct screen *s);
int screen_columns(const struct screen *s);
/* Returns whether it can show block characters. */
bool screen_has_blocks(const struct screen *s);

void screen_erase(struct screen *s);
/* Puts a text. A part that does not fit on the line is cut off; rows and columns that are not there
 * are no error. */
void screen_put(struct screen *s, int row, int column, enum screen_look look, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
/* Gives a whole line its look, from column 0 to its end. */
void screen_line(struct screen *s, int row, enum screen_look look, const char *text);
void screen_show(struct screen *s);

/* Returns the next key that was pressed, without waiting. */
int screen_key(struct screen *s);

#endif
