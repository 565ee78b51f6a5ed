# SPDX-License-Identifier: Apache-2.0
# Completion for bash: catnap itself says what may follow (src/cli/opts_complete.h).

_catnap()
{
	local line=${COMP_LINE:0:COMP_POINT} words cur command=() answer one rest at

	# Readline's own words end at '=' and ':', the program's do not.
	read -ra words <<<"$line"
	[[ $line == *[[:space:]] ]] && words+=("")
	cur=${words[-1]}
	if ((${#words[@]} > 2)); then
		command=("${words[1]}")
		words=("${words[@]:2}")
	else
		words=("$cur")
	fi
	mapfile -t answer < <("$1" "${command[@]}" --complete "${words[@]}" 2>/dev/null)
	COMPREPLY=()
	# What stands before the last of them readline takes to be there already.
	at=${cur%"${cur##*[=:]}"}
	for one in "${answer[@]}"; do
		if [[ $one == :file ]]; then
			rest=${cur##*[=,]}
			compopt -o filenames 2>/dev/null
			while IFS= read -r one; do
				one=${cur%"$rest"}$one
				COMPREPLY+=("${one#"$at"}")
			done < <(compgen -f -- "$rest")
		else
			[[ $one == *= ]] && compopt -o nospace 2>/dev/null
			COMPREPLY+=("${one#"$at"}")
		fi
	done
}

complete -F _catnap catnap
