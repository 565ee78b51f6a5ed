/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap serve`: options, by the names of Firecracker's; what is opened, and closed. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/fault.h"
#include "cli/leftovers.h"
#include "cli/now.h"
#include "cli/opts.h"
#include "cli/printable.h"
#include "cli/serve/serve.h"
#include "cli/service.h"

#define DEFAULT_SOCKET "/run/firecracker.socket"
#define DEFAULT_ID     "anonymous-instance"
#define ID_MAX	       64
#define PAYLOAD_MAX    (UINT64_C(64) << 20)
#define NS_PER_US      1000

/* ---- options ---- */

static int set_level(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct {
		const char *name;
		int level;
	} levels[] = {{"Off", FC_OFF},	  {"Error", FC_ERROR}, {"Warning", FC_WARN},
		      {"Warn", FC_WARN},  {"Info", FC_INFO},   {"Debug", FC_DEBUG},
		      {"Trace", FC_TRACE}};
	struct serve_cfg *cfg = ptr;

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (strcasecmp(arg->text, levels[i].name) == 0) {
			cfg->level = levels[i].level;
			return 0;
		}
	return opt_fail(o, arg, "is not known: expected Off, Error, Warning, Info, Debug or Trace");
}

static int set_id(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct serve_cfg *cfg = ptr;
	size_t len = strlen(arg->text);

	if (len == 0 || len > ID_MAX ||
	    strspn(arg->text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") !=
		    len)
		return opt_fail(o, arg, "is no id: expected 1 to %d letters, digits and '-'",
				ID_MAX);
	cfg->id = arg->text;
	return 0;
}

/* clang-format off */
#define CFG(member) .offset = offsetof(struct serve_cfg, member)

static const struct opt_def serve_options[] = {
	{.f = {.name = "api-sock", .type = OPT_STRING, CFG(api_sock)}, .form = "PATH|fd=N",
	 .help = "Where the API listens: a Unix socket that is made, with mode 0600, or one that the "
		 "process was given.",
	 .def = DEFAULT_SOCKET ", or what systemd passes"},
	{.f = {.name = "config-file", .type = OPT_STRING, CFG(config_file)}, .form = "FILE.json",
	 .help = "A VM in one file, in Firecracker's format: it is started at once."},
	{.f = {.name = "no-api", .type = OPT_FLAG, CFG(no_api)},
	 .help = "No API; needs --config-file."},
	{.f = {.name = "id", .type = OPT_CALL, .set = set_id}, .form = "TEXT",
	 .help = "What the VM is called in answers, logs and metrics.", .def = DEFAULT_ID},
	{.f = {.name = "log-path", .type = OPT_STRING, CFG(log_path)}, .form = "FILE",
	 .help = "The log goes to this file or FIFO.", .def = "standard output"},
	{.f = {.name = "level", .type = OPT_CALL, .set = set_level},
	 .form = "Off|Error|Warning|Info|Debug|Trace", .help = "What is logged.", .def = "Info"},
	{.f = {.name = "module", .type = OPT_STRING, CFG(module)}, .form = "TEXT",
	 .help = "Only lines of files whose name begins with this are logged: src/cli/api."},
	{.f = {.name = "show-level", .type = OPT_FLAG, CFG(show_level)},
	 .help = "Lines of the log have their level."},
	{.f = {.name = "show-log-origin", .type = OPT_FLAG, CFG(show_origin)},
	 .help = "Lines of the log have the place in the sources that they come from: file and line."},
	{.f = {.name = "metrics-path", .type = OPT_STRING, CFG(metrics_path)}, .form = "FILE",
	 .help = "Metrics go to this file or FIFO, as a line of JSON each minute."},
	{.f = {.name = "boot-timer", .type = OPT_FLAG, CFG(boot_timer)},
	 .help = "Logs how long the guest took to write 123 to the byte at 0xc0000000."},
	{.f = {.name = "http-api-max-payload-size", .type = OPT_U64, CFG(max_payload), .min = 1,
	       .max = PAYLOAD_MAX},
	 .form = "BYTES", .help = "The longest body of a request.", .def = "51200"},
	{.f = {.name = "start-time-us", .type = OPT_U64, CFG(start_us)}, .form = "N",
	 .help = "When the process was started, by CLOCK_MONOTONIC: how long it took until it listens "
		 "is logged, and in the metrics."},
	{.f = {.name = "start-time-cpu-us", .type = OPT_U64, CFG(start_cpu_us)}, .form = "N",
	 .help = "The process' processor time then: what it has used since is logged, and in the "
		 "metrics."},
	{.f = {.name = "parent-cpu-time-us", .type = OPT_U64, CFG(parent_cpu_us)}, .form = "N",
	 .help = "The starter's processor time, which is added to that."},
	{.f = {.name = "enable-pci", .type = OPT_FLAG, CFG(pci)},
	 .help = "Devices are on a PCI bus, and not virtio-mmio."},
	{.f = {.name = "no-seccomp", .type = OPT_FLAG, CFG(no_seccomp)},
	 .help = "System calls are not limited."},
	{.f = {.name = "seccomp-filter", .type = OPT_STRING, CFG(seccomp_filter)}, .form = "FILE",
	 .help = "Has no effect: the filters are catnap's own. A warning says so."},
	{.f = {.name = "metadata", .type = OPT_STRING, CFG(metadata)}, .form = "FILE",
	 .help = "Is refused: there is no metadata service yet."},
	{.f = {.name = "mmds-size-limit", .type = OPT_U64, CFG(mmds_limit)}, .form = "BYTES",
	 .help = "Has no effect: there is no metadata service yet."},
	{.f = {.name = "version", .type = OPT_FLAG, CFG(version)},
	 .help = "Prints the version of Firecracker whose API this is, and catnap's."},
	{{0}},
};
/* clang-format on */

static const struct opt_command serve_command = {
	.name = "serve",
	.synopsis = "[OPTIONS]",
	.summary = "Waits to be told of a VM by a control socket or a file, and runs it, as "
		   "Firecracker does.",
	.options = serve_options,
};

/* Checks what concerns several options. Returns 0 or -EINVAL. */
static int check(struct opts *o, const struct serve_cfg *cfg)
{
	if (cfg->no_api && !cfg->config_file)
		return opts_fail(o, "--no-api: there would be nobody to tell of a VM: expected "
				    "--config-file as well");
	if (cfg->no_seccomp && cfg->seccomp_filter)
		return opts_fail(o,
				 "--no-seccomp: not with --seccomp-filter: expected one of them");
	if (cfg->metadata)
		return opts_fail(o, "--metadata: there is no metadata service yet: expected none");
	return 0;
}

/* ---- what the API wants of the process ---- */

static void say(void *ctx, enum catnap_log_level level, struct place place, const char *message)
{
	struct serve *s = ctx;
	static const int levels[] = {FC_ERROR, FC_WARN, FC_INFO, FC_DEBUG};

	logger_line_at(&s->logger, levels[level], place, message);
}

static int flush_metrics(void *ctx, struct reply *r)
{
	struct serve *s = ctx;
	int ret = metrics_file_write(&s->metrics, &s->api);

	if (ret < 0)
		return reply_fault(r, 400, "Internal Vmm error: Failed to write metrics: %s",
				   strerror(-ret));
	return 0;
}

static int set_logger(void *ctx, struct reply *r, const struct fc_logger_change *change)
{
	struct serve *s = ctx;
	int ret = logger_set(&s->logger, change);

	if (ret < 0)
		return reply_fault(r, 400,
				   "Logger error: Failed to open target file: %s (os error %d): "
				   "log_path: %s",
				   strerror(-ret), -ret, change->path ? change->path : "");
	return 0;
}

static int set_metrics(void *ctx, struct reply *r, const struct fc_metrics_setting *setting)
{
	struct serve *s = ctx;
	int ret = metrics_file_set(&s->metrics, setting);

	if (ret == -EEXIST)
		return reply_fault(r, 400,
				   "Metrics error: Cannot initialize the metrics system due to bad "
				   "user input: Reinitialization of metrics not allowed.");
	if (ret < 0)
		return reply_fault(r, 400,
				   "Metrics error: Cannot initialize the metrics system due to bad "
				   "user input: %s (os error %d): metrics_path: %s",
				   strerror(-ret), -ret, setting->path);
	return 0;
}

static void set_balloon_interval(void *ctx, uint64_t seconds)
{
	struct serve *s = ctx;

	s->balloon_ns = seconds * UINT64_C(1000000000);
	s->balloon_next = 0; /* the first is asked for at once */
}

static const struct api_owner owner = {
	.start = serve_start,
	.load = serve_load,
	.flush_metrics = flush_metrics,
	.set_logger = set_logger,
	.set_metrics = set_metrics,
	.log = say,
	.set_balloon_interval = set_balloon_interval,
};

/* ---- the socket ---- */

static int wrong_socket(const char *what, const char *why)
{
	complain("catnap serve: --api-sock: %s: %s\n", what, why);
	return CMD_ERROR;
}

static int make_socket(struct serve *s, const char *path)
{
	int ret = http_listen(&s->socket, path);

	if (ret == -EADDRINUSE)
		return wrong_socket(path,
				    "exists: expected the name of a socket that is to be made");
	if (ret == -ENAMETOOLONG)
		return wrong_socket(
			path, "is too long for a socket: expected a path of at most 107 bytes");
	if (ret < 0)
		return wrong_socket(path, strerror(-ret));
	if (!s->keeper)
		return CMD_OK;
	ret = catnap_keeper_add_socket(s->keeper, path);
	s->keepers = ret == 0;
	return ret < 0 ? wrong_socket(path, strerror(-ret)) : CMD_OK;
}

static int take_socket(struct serve *s, int fd, const char *name)
{
	const char *why;

	return http_inherit(&s->socket, fd, &why) < 0 ? wrong_socket(name, why) : CMD_OK;
}

static int open_socket(struct serve *s)
{
	const char *given = s->cfg->api_sock;
	char *end;
	long fd;

	if (!given) {
		fd = http_activated();
		return fd >= 0 ? take_socket(s, (int)fd, "LISTEN_FDS")
			       : make_socket(s, DEFAULT_SOCKET);
	}
	if (strncmp(given, "fd=", 3) != 0)
		return make_socket(s, given);
	errno = 0;
	fd = strtol(given + 3, &end, 10);
	if (errno || end == given + 3 || *end || fd < 0 || fd > INT32_MAX)
		return wrong_socket(given, "is no descriptor: expected fd=N, or a path");
	return take_socket(s, (int)fd, given);
}

static int listen_to_clients(struct serve *s)
{
	int status, ret;

	if (s->cfg->no_api) {
		s->server = (struct api_server){.api = &s->api};
		return CMD_OK;
	}
	status = open_socket(s);
	if (status != CMD_OK)
		return status;
	ret = api_server_start(&s->server, &s->api, s->socket.fd, s->cfg->max_payload);
	if (ret < 0)
		return wrong_socket(s->cfg->api_sock ? s->cfg->api_sock : DEFAULT_SOCKET,
				    strerror(-ret));
	return CMD_OK;
}

/* ---- the process ---- */

static int begin_log(struct serve *s)
{
	const struct serve_cfg *cfg = s->cfg;
	const struct fc_logger_change change = {.path = cfg->log_path,
						.module = cfg->module,
						.level = cfg->level,
						.show_level = cfg->show_level ? 1 : -1,
						.show_origin = cfg->show_origin ? 1 : -1};
	int ret = logger_set(&s->logger, &change);

	if (ret < 0) {
		complain("catnap serve: --log-path: %s: %s\n", cfg->log_path, strerror(-ret));
		return CMD_ERROR;
	}
	logger_always(&s->logger, "Running Firecracker v%s (catnap %s)", FC_VERSION,
		      catnap_version());
	if (cfg->seccomp_filter)
		logger_line(&s->logger, FC_WARN,
			    "--seccomp-filter has no effect: the filters are catnap's own");
	return CMD_OK;
}

/* Returns the time from @since on, by @clock; 0: it is still to come. */
static uint64_t us_since(clockid_t clock, uint64_t since)
{
	uint64_t now = clock_ns(clock) / NS_PER_US;

	return now > since ? now - since : 0;
}

/* Tells what the start has taken, as Firecracker has it, once clients can come. */
static void tell_start(struct serve *s)
{
	const struct serve_cfg *cfg = s->cfg;
	char text[96];

	if (cfg->start_us != UINT64_MAX) {
		s->metrics.startup_us = us_since(CLOCK_MONOTONIC, cfg->start_us);
		snprintf(text, sizeof(text), "process_startup_time_us: %" PRIu64,
			 s->metrics.startup_us);
		logger_line(&s->logger, FC_INFO, text);
	}
	if (cfg->start_cpu_us != UINT64_MAX) {
		s->metrics.startup_cpu_us =
			us_since(CLOCK_PROCESS_CPUTIME_ID, cfg->start_cpu_us) +
			(cfg->parent_cpu_us != UINT64_MAX ? cfg->parent_cpu_us : 0);
		snprintf(text, sizeof(text), "process_startup_time_cpu_us: %" PRIu64,
			 s->metrics.startup_cpu_us);
		logger_line(&s->logger, FC_INFO, text);
	}
}

static int begin_metrics(struct serve *s)
{
	const struct fc_metrics_setting setting = {.path = s->cfg->metrics_path};
	int ret = setting.path ? metrics_file_set(&s->metrics, &setting) : 0;

	if (ret == 0)
		return CMD_OK;
	complain("catnap serve: --metrics-path: %s: %s\n", setting.path, strerror(-ret));
	return CMD_ERROR;
}

/* Starts the keeper, which removes the socket when this process may not any more. */
static int begin_keeper(struct serve *s)
{
	bool has = catnap_sandbox_available() & CATNAP_SANDBOX_HAS_SECCOMP;
	int ret;

	if (s->cfg->no_seccomp)
		return CMD_OK;
	ret = catnap_keeper_start(&s->keeper, has ? CATNAP_SANDBOX_ON : CATNAP_SANDBOX_OFF, -1,
				  NULL, NULL);
	if (ret == 0)
		return CMD_OK;
	complain("catnap serve: the process that tidies up cannot be started: %s\n",
		 strerror(-ret));
	return CMD_ERROR;
}

static int take_signals(struct serve *s)
{
	sigset_t set;

	ending_signals(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signals >= 0)
		return CMD_OK;
	complain("catnap serve: signalfd: %s\n", strerror(errno));
	return CMD_ERROR;
}

static void end(struct serve *s)
{
	api_server_stop(&s->server);
	catnap_vm_destroy(&s->api.vm);
	s->watched = NULL;
	serve_serial_close(&s->serial);
	http_socket_close(&s->socket, !s->keepers);
	api_free(&s->api);
	catnap_keeper_stop(&s->keeper);
	metrics_file_free(&s->metrics);
	logger_free(&s->logger);
	if (s->signals >= 0)
		close(s->signals);
	if (s->service >= 0)
		close(s->service);
}

/* Tells the service manager that clients can come, and that the VM of --config-file was started. */
static void tell_ready(const struct serve *s)
{
	service_tell(s->service,
		     s->api.vm ? "READY=1\n" : "READY=1\nSTATUS=Waits to be told of a VM.\n");
}

static int serve(const struct serve_cfg *cfg)
{
	struct serve s = {.cfg = cfg, .boot_fd = -1, .signals = -1, .socket = {.fd = -1}};
	int status;

	s.service = service_open();
	logger_init(&s.logger, cfg->id);
	metrics_file_init(&s.metrics);
	serve_serial_init(&s.serial);
	api_init(&s.api, cfg->id, &owner, &s);
	fault_watch(&s.watched);
	status = begin_log(&s);
	if (status == CMD_OK)
		status = begin_metrics(&s);
	if (status == CMD_OK)
		status = begin_keeper(&s);
	if (status == CMD_OK)
		status = take_signals(&s);
	if (status == CMD_OK)
		status = listen_to_clients(&s);
	if (status == CMD_OK)
		tell_start(&s);
	if (status == CMD_OK && cfg->config_file)
		status = serve_config_file(&s, cfg->config_file);
	if (status == CMD_OK) {
		tell_ready(&s);
		status = serve_loop(&s);
	}
	end(&s);
	return status;
}

static int print_version(void)
{
	printf("Firecracker v%s\n\ncatnap %s\n", FC_VERSION, catnap_version());
	return CMD_OK;
}

int cmd_serve(int argc, char **argv)
{
	struct serve_cfg cfg = {.id = DEFAULT_ID,
				.level = -1,
				.start_us = UINT64_MAX,
				.start_cpu_us = UINT64_MAX,
				.parent_cpu_us = UINT64_MAX};
	struct opts o;
	int status = opts_command(&o, &serve_command, argc, argv, &cfg);

	if (status < 0) {
		signal(SIGPIPE, SIG_IGN);
		if (cfg.version) {
			status = print_version();
		} else if (check(&o, &cfg) < 0) {
			fprintf(stderr, "%s\n", o.error);
			status = CMD_USAGE;
		} else {
			status = serve(&cfg);
		}
	}
	opts_free(&o);
	/* main() comes by here with another name: that of Firecracker, and so with its status. */
	if (status == CMD_USAGE && strcmp(argv[0], serve_command.name) != 0)
		status = SERVE_ARGUMENTS;
	return status;
}
