/* SPDX-License-Identifier: Apache-2.0 */
/* Files of boot loaders, as distributions write them and as nobody should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cli/boot/entries.h"

static void grub(struct boot_entries *e, const char *env, const char *text)
{
	*e = (struct boot_entries){.n = 0};
	if (env)
		boot_read_grubenv(e, env, strlen(env));
	boot_read_grub(e, text, strlen(text), NULL);
	assert_false(e->no_memory);
}

static void is(const struct boot_entry *b, const char *index, const char *title, const char *kernel,
	       const char *initrd, const char *options)
{
	assert_non_null(b);
	assert_string_equal(b->index, index);
	assert_string_equal(b->title, title);
	assert_string_equal(b->kernel, kernel);
	assert_string_equal(b->initrd, initrd);
	assert_string_equal(b->options, options);
	assert_null(b->unfit);
}

/* As grub-mkconfig of Debian 12 writes it, shortened. */
static const char debian[] =
	"if [ -s $prefix/grubenv ]; then\n"
	"  set have_grubenv=true\n"
	"  load_env\n"
	"fi\n"
	"if [ \"${next_entry}\" ] ; then\n"
	"   set default=\"${next_entry}\"\n"
	"   set next_entry=\n"
	"   save_env next_entry\n"
	"   set boot_once=true\n"
	"else\n"
	"   set default=\"${saved_entry}\"\n"
	"fi\n"
	"\n"
	"if [ x\"${feature_menuentry_id}\" = xy ]; then\n"
	"  menuentry_id_option=\"--id\"\n"
	"else\n"
	"  menuentry_id_option=\"\"\n"
	"fi\n"
	"export menuentry_id_option\n"
	"function savedefault {\n"
	"  if [ -z \"${boot_once}\" ]; then\n"
	"    saved_entry=\"${chosen}\"\n"
	"    save_env saved_entry\n"
	"  fi\n"
	"}\n"
	"function load_video {\n"
	"  if [ x$feature_all_video_module = xy ]; then\n"
	"    insmod all_video\n"
	"  else\n"
	"    insmod efi_gop; insmod efi_uga\n"
	"  fi\n"
	"}\n"
	"if loadfont $font ; then\n"
	"  set gfxmode=auto\n"
	"fi\n"
	"# This is a comment with a { and an 'apostrophe\n"
	"menuentry 'Debian GNU/Linux' --class debian --class gnu $menuentry_id_option "
	"'gnulinux-simple-1234' {\n"
	"\tload_video\n"
	"\tinsmod gzio\n"
	"\tif [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi\n"
	"\tsearch --no-floppy --fs-uuid --set=root 1234\n"
	"\techo\t'Loading Linux 6.1.0-13-amd64 ...'\n"
	"\tlinux\t/boot/vmlinuz-6.1.0-13-amd64 root=UUID=1234 ro  quiet\n"
	"\techo\t'Loading initial ramdisk ...'\n"
	"\tinitrd\t/boot/initrd.img-6.1.0-13-amd64\n"
	"}\n"
	"submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option "
	"'gnulinux-advanced-1234' {\n"
	"\tmenuentry 'Debian GNU/Linux, with Linux 6.1.0-13-amd64' --class debian "
	"$menuentry_id_option 'gnulinux-6.1.0-13-amd64-advanced-1234' {\n"
	"\t\tlinux\t/boot/vmlinuz-6.1.0-13-amd64 root=UUID=1234 ro  quiet\n"
	"\t\tinitrd\t/boot/initrd.img-6.1.0-13-amd64\n"
	"\t}\n"
	"\tmenuentry 'Debian GNU/Linux, with Linux 6.1.0-12-amd64 (recovery mode)' "
	"$menuentry_id_option 'gnulinux-6.1.0-12-amd64-recovery-1234' {\n"
	"\t\tlinux\t/boot/vmlinuz-6.1.0-12-amd64 root=UUID=1234 ro single\n"
	"\t\tinitrd\t/boot/ucode.img /boot/initrd.img-6.1.0-12-amd64\n"
	"\t}\n"
	"}\n"
	"if [ \"$grub_platform\" = \"efi\" ]; then\n"
	"\tmenuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {\n"
	"\t\tfwsetup\n"
	"\t}\n"
	"fi\n"
	"menuentry \"Memory test\" { chainloader /boot/memtest.efi\n}\n";

static void test_debian(void **state)
{
	struct boot_entries e;

	grub(&e, NULL, debian);
	assert_int_equal(e.n, 4);
	is(boot_default(&e), "0", "Debian GNU/Linux", "/boot/vmlinuz-6.1.0-13-amd64",
	   "/boot/initrd.img-6.1.0-13-amd64", "root=UUID=1234 ro quiet");
	is(boot_find(&e, "1>1"), "1>1",
	   "Debian GNU/Linux, with Linux 6.1.0-12-amd64 (recovery mode)",
	   "/boot/vmlinuz-6.1.0-12-amd64", "/boot/ucode.img /boot/initrd.img-6.1.0-12-amd64",
	   "root=UUID=1234 ro single");
	assert_ptr_equal(boot_find(&e, "gnulinux-6.1.0-12-amd64-recovery-1234"),
			 boot_find(&e, "1>1"));
	assert_ptr_equal(boot_find(&e, "Advanced options for Debian GNU/Linux>Debian GNU/Linux, "
				       "with Linux 6.1.0-13-amd64"),
			 boot_find(&e, "1>0"));
	assert_non_null(boot_find(&e, "2"));
	assert_string_equal(boot_find(&e, "2")->unfit, "starts something else than Linux");
	assert_null(boot_find(&e, "3"));
	assert_null(boot_find(&e, ""));
	boot_entries_free(&e);
}

/* A default that grub-set-default has saved; a choice for one start is none for us. */
static void test_saved(void **state)
{
	static const char *const saved[][2] = {
		{"saved_entry=gnulinux-advanced-1234>gnulinux-6.1.0-12-amd64-recovery-1234\n",
		 "1>1"},
		{"# GRUB Environment Block\nsaved_entry=1>1\n#####", "1>1"},
		{"saved_entry=1\n", "1>0"},
		{"saved_entry=gnulinux-advanced-1234\n", "1>0"},
		{"saved_entry=nobody\n", "0"},
		{"saved_entry=77\n", "0"},
		{"next_entry=1>1\n", "0"},
		{"saved_entry", "0"},
	};
	struct boot_entries e;

	for (size_t i = 0; i < sizeof(saved) / sizeof(saved[0]); i++) {
		grub(&e, saved[i][0], debian);
		assert_string_equal(boot_default(&e)->index, saved[i][1]);
		boot_entries_free(&e);
	}
}

/* As Ubuntu's images for clouds have it: without an initramfs at first. */
static void test_ubuntu(void **state)
{
	struct boot_entries e;

	grub(&e, NULL,
	     "set default=0\n"
	     "menuentry 'Ubuntu' --class ubuntu --id gnulinux-simple {\n"
	     "  recordfail\n"
	     "  gfxmode $linux_gfx_mode\n"
	     "  set root='hd0,gpt16'\n"
	     "  if [ \"${initrdfail}\" = 1 ]; then\n"
	     "    echo 'GRUB_FORCE_PARTUUID set, initrdless boot failed. Attempting with initrd.'\n"
	     "    linux /vmlinuz-6.8.0 root=PARTUUID=ab ro  console=tty1 console=ttyS0\n"
	     "    initrd /initrd.img-6.8.0\n"
	     "  else\n"
	     "    linux /vmlinuz-6.8.0 root=PARTUUID=ab ro  console=tty1 console=ttyS0 panic=-1\n"
	     "    #Dont set initrd for microcode\n"
	     "  fi\n"
	     "  initrdfail\n"
	     "}\n");
	assert_int_equal(e.n, 1);
	is(boot_default(&e), "0", "Ubuntu", "/vmlinuz-6.8.0", "",
	   "root=PARTUUID=ab ro console=tty1 console=ttyS0 panic=-1");
	boot_entries_free(&e);
}

static void bls(struct boot_entries *e, const char *name, const char *text)
{
	boot_read_bls(e, name, text, strlen(text));
}

/* As Fedora has it: grub.cfg reads /loader/entries, whose options name variables. */
static void test_fedora(void **state)
{
	static const char cfg[] = "if [ \"${next_entry}\" ] ; then set default=\"${next_entry}\"\n"
				  "else set default=\"${saved_entry}\"\nfi\n"
				  "set kernelopts=\"root=UUID=77 ro\"\n"
				  "insmod blscfg\nblscfg\n"
				  "menuentry 'Other' { linux /other }\n"
				  "menuentry 'Other' {\n linux /other\n}\n";
	static const char saved[] = "saved_entry=abc-6.5.6-300.fc39.x86_64\n";
	struct boot_entries e = {.n = 0}, files = {.n = 0};

	bls(&files, "abc-0-rescue.conf", "title Rescue\nlinux /vmlinuz-0\n");
	bls(&files, "abc-6.5.6-300.fc39.x86_64.conf",
	    "title Fedora Linux (6.5.6)\nversion 6.5.6-300.fc39.x86_64\nlinux /vmlinuz-6.5.6\n"
	    "initrd /initramfs-6.5.6.img $tuned_initrd\noptions $kernelopts rhgb ${x}quiet\n"
	    "grub_users $grub_users\n");
	bls(&files, "abc-6.10.1-200.fc39.x86_64.conf",
	    "# the newest\ntitle Fedora Linux (6.10.1)\nlinux /vmlinuz-6.10.1\noptions a\n"
	    "options b\ninitrd /one\ninitrd /two\n");
	bls(&files, "uki.conf", "title Unified\nefi /EFI/Linux/a.efi\n");
	boot_sort_bls(&files);
	boot_read_grubenv(&e, saved, strlen(saved));
	boot_read_grub(&e, cfg, strlen(cfg), &files);
	assert_int_equal(e.n, 6);
	is(boot_default(&e), "2", "Fedora Linux (6.5.6)", "/vmlinuz-6.5.6", "/initramfs-6.5.6.img",
	   "root=UUID=77 ro rhgb quiet");
	is(boot_find(&e, "1"), "1", "Fedora Linux (6.10.1)", "/vmlinuz-6.10.1", "/one /two", "a b");
	is(boot_find(&e, "3"), "3", "Rescue", "/vmlinuz-0", "", "");
	assert_non_null(boot_find(&e, "Unified")->unfit);
	is(boot_find(&e, "5"), "5", "Other", "/other", "", "");
	boot_entries_free(&e);
	boot_entries_free(&files);
}

static void test_loader(void **state)
{
	static const char with_default[] = "timeout 3\ndefault arch.conf\n";
	static const char with_pattern[] = "default z*";
	struct boot_entries e = {.n = 0};

	bls(&e, "arch.conf", "linux /vmlinuz-linux\ninitrd /a.img\n");
	bls(&e, "zz.conf", "title\tTabs\nlinux\t/k\r\noptions\troot=/dev/vda rw\r\n");
	boot_sort_bls(&e);
	is(boot_default(&e), "0", "Tabs", "/k", "", "root=/dev/vda rw");
	boot_read_loader_conf(&e, with_default, strlen(with_default));
	is(boot_default(&e), "1", "arch", "/vmlinuz-linux", "/a.img", "");
	boot_read_loader_conf(&e, with_pattern, strlen(with_pattern));
	assert_string_equal(boot_default(&e)->id, "zz");
	boot_entries_free(&e);
}

/* As Alpine has it, and as SYSLINUX may. */
static void test_extlinux(void **state)
{
	static const char alpine[] = "# Generated by update-extlinux\nDEFAULT menu.c32\nPROMPT 0\n"
				     "LABEL lts\n  MENU DEFAULT\n  MENU LABEL Linux ^lts\n"
				     "  LINUX vmlinuz-lts\n  INITRD initramfs-lts\n"
				     "  APPEND root=UUID=1 modules=ext4 quiet\n\n"
				     "LABEL old\n  KERNEL /k\n"
				     "  APPEND initrd=/a,b ro\n"
				     "LABEL reboot\n  COM32 reboot.c32\n";
	struct boot_entries e = {.n = 0};

	boot_read_extlinux(&e, "/boot", alpine, strlen(alpine));
	assert_int_equal(e.n, 3);
	is(boot_default(&e), "0", "Linux lts", "/boot/vmlinuz-lts", "/boot/initramfs-lts",
	   "root=UUID=1 modules=ext4 quiet");
	is(boot_find(&e, "old"), "1", "old", "/k", "/a /boot/b", "ro");
	assert_non_null(boot_find(&e, "reboot")->unfit);
	boot_entries_free(&e);
}

static void test_language(void **state)
{
	struct boot_entries e;

	grub(&e, NULL,
	     "a='x y'; b=\"$a ${a}z \\\"q\\\" \\$no\"\n"
	     "c=1 \\\n\n"
	     "menuentry \"one two\" {\n"
	     "  linux ($root)/k \"$b\" $a 'single $a' p\\ q dyndbg=\\\"on\\\" #comment\n"
	     "}\n"
	     "if true; then if [ $c -ge 2 ]; then menuentry no { linux /n\n }\n"
	     "elif [ ! $c = 2 -a -n \"$c\" ]; then\nmenuentry yes {\nlinux /y\n}\n"
	     "else\nmenuentry no {\nlinux /n\n}\nfi; fi\n"
	     "for i in 1 2; do menuentry no {\nlinux /n\n}\ndone\n"
	     "while true; do menuentry no {\nlinux /n\n}\ndone\n"
	     "function f { menuentry no {\nlinux /n\n}\n}\n"
	     "submenu a {\nsubmenu b {\nmenuentry 'c' {\nlinuxefi /c\ninitrdefi /d /e\n}\n}\n}\n");
	assert_int_equal(e.n, 3);
	is(&e.entries[0], "0", "one two", "()/k", "",
	   "x y x yz \"q\" $no x y \"single $a\" \"p q\" dyndbg=\"on\"");
	is(&e.entries[1], "1", "yes", "/y", "", "");
	is(&e.entries[2], "2>0>0", "c", "/c", "/d /e", "");
	assert_string_equal(e.entries[2].titles, "a>b>c");
	assert_ptr_equal(boot_find(&e, "a>b>c"), &e.entries[2]);
	boot_entries_free(&e);
}

/* What is broken ends the script; what was found before that stays. */
static void test_broken(void **state)
{
	static const char *const texts[] = {
		"",
		"menuentry",
		"menuentry a",
		"menuentry a {",
		"menuentry a {\nlinux /k\n",
		"if",
		"if true; then",
		"fi\nfi\n}\n}\ndone",
		"}}}}{{{{",
		"function",
		"submenu {{{",
		"'",
		"\"$",
		"${",
		"\\",
		"a=${a",
		"[",
		"[ ! ! ! ]",
		"test -a -o -a",
		"for for for do do done",
		"#",
	};
	struct boot_entries e;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char text[256];

		grub(&e, "x", texts[i]);
		boot_default(&e);
		boot_entries_free(&e);
		snprintf(text, sizeof(text), "menuentry first {\nlinux /k\n}\n%s", texts[i]);
		grub(&e, NULL, text);
		is(boot_find(&e, "first"), "0", "first", "/k", "", "");
		boot_entries_free(&e);
	}
}

/* Repeats @unit @n times, between two texts. For the caller to free. */
static char *repeat(const char *before, const char *unit, size_t n, const char *after)
{
	size_t len = strlen(unit), head = strlen(before);
	char *text = malloc(head + n * len + strlen(after) + 1);

	assert_non_null(text);
	memcpy(text, before, head);
	for (size_t i = 0; i < n; i++)
		memcpy(text + head + i * len, unit, len);
	memcpy(text + head + n * len, after, strlen(after) + 1);
	return text;
}

/* Limits: each is met, and reading ends. */
static void test_limits(void **state)
{
	static const struct {
		const char *before, *unit;
		size_t n;
		const char *after;
		size_t entries;
	} cases[] = {
		{"", "menuentry a {\nlinux /k\n}\n", 100000, "", BOOT_MAX_ENTRIES},
		{"", "submenu a {\n", 100000, "", 0},
		{"", "if true; then\n", 100000, "", 0},
		{"a=x\n", "a=$a$a$a\n", 100000, "menuentry a {\nlinux /k $a\n}\n", 1},
		{"menuentry a {\nlinux /k ", "word ", 100000, "\n}\n", 1},
		{"menuentry a {\nlinux /k ", "w", 100000, "\n}\n", 1},
		{"menuentry ", "w", 100000, " {\nlinux /k\n}\n", 1},
		{"menuentry a {\nlinux /k\ninitrd ", "/w ", 100000, "\n}\n", 1},
		{"", "\n", 1000000, "menuentry a {\nlinux /k\n}\n", 1},
		{"", "#\n", 1000000, "menuentry a {\nlinux /k\n}\n", 1},
		{"\"", "$a", 1000000, "", 0},
	};
	struct boot_entries e;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *text = repeat(cases[i].before, cases[i].unit, cases[i].n, cases[i].after);

		grub(&e, NULL, text);
		assert_int_equal(e.n, cases[i].entries);
		for (size_t k = 0; k < e.n; k++) {
			assert_true(strlen(e.entries[k].title) < BOOT_MAX_VALUE);
			assert_true(strlen(e.entries[k].options) < BOOT_MAX_ARGS);
		}
		boot_entries_free(&e);
		free(text);
	}
	/* A command line that was cut is not started with. */
	{
		char *text = repeat("menuentry a {\nlinux /k ", "word ", 10000, "\n}\n");

		grub(&e, NULL, text);
		assert_string_equal(boot_default(&e)->unfit, "has a command line that is too long");
		boot_entries_free(&e);
		free(text);
	}
}

/* Names of variables beyond the limit are as if they were not set. */
static void test_many_variables(void **state)
{
	char *text = calloc(1, 40000);
	struct boot_entries e;

	assert_non_null(text);
	for (int i = 0, n = 0; i < 2 * BOOT_MAX_VARS; i++)
		n += sprintf(text + n, "v%d=%d\n", i, i);
	strcat(text, "menuentry a {\nlinux /k $v1 $v511\n}\n");
	grub(&e, NULL, text);
	is(boot_default(&e), "0", "a", "/k", "", "1");
	boot_entries_free(&e);
	free(text);
}

static void test_cmdline(void **state)
{
	static const char *const lines[][2] = {
		{"", "console=ttyS0"},
		{"root=/dev/vda", "root=/dev/vda console=ttyS0"},
		{"console=tty0", "console=tty0 console=ttyS0"},
		{"console=ttyS0,115200 ro", "console=ttyS0,115200 ro"},
		{"ro console=hvc0", "ro console=hvc0"},
		{"xconsole=ttyS0", "xconsole=ttyS0 console=ttyS0"},
		{"ro -- single", "ro console=ttyS0 -- single"},
		{"-- single", "console=ttyS0 -- single"},
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char *made = boot_cmdline(lines[i][0]);

		assert_string_equal(made, lines[i][1]);
		free(made);
	}
}

static void test_versions(void **state)
{
	static const char *const rising[] = {"",     "1.0~rc1", "1.0", "1.0a", "1.0.1", "1.9",
					     "1.10", "1.10.1",	"2",   "10",   NULL};

	for (int i = 0; rising[i]; i++)
		for (int k = 0; rising[k]; k++) {
			int ret = boot_compare_versions(rising[i], rising[k]);

			assert_int_equal((ret > 0) - (ret < 0), (i > k) - (i < k));
		}
	assert_int_equal(boot_compare_versions("1-2", "1.2"), 0);
	assert_int_equal(boot_compare_versions("01", "1"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_debian),	 cmocka_unit_test(test_saved),
		cmocka_unit_test(test_ubuntu),	 cmocka_unit_test(test_fedora),
		cmocka_unit_test(test_loader),	 cmocka_unit_test(test_extlinux),
		cmocka_unit_test(test_language), cmocka_unit_test(test_broken),
		cmocka_unit_test(test_limits),	 cmocka_unit_test(test_many_variables),
		cmocka_unit_test(test_cmdline),	 cmocka_unit_test(test_versions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
