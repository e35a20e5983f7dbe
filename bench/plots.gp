# gnuplot -e "folder='...'; kind='svg'" plots.gp: every plot that has data.
set terminal (kind eq 'svg') ? 'svg' : 'pngcairo'
eval "set terminal ".((kind eq 'svg') ? "svg size 1080,450 background 'white'" : "pngcairo size 1080,450")
has(name) = int(system("grep -c . '".folder."/".name.".dat'")) > 0
data(name) = folder."/".name.".dat"
picture(name) = folder."/".name.".".kind
set key outside
set bmargin 4
set grid ytics
set style fill solid 0.7
set boxwidth 0.6
set yrange [0:*]
set offsets 0, 0, graph 0.08, 0
set datafile missing 'NaN'

if (has('in_server')) {
	set output picture('in_server')
	set title 'One call inside the server, loop included'
	set xlabel 'rows in the table'
	set ylabel 'microseconds'
	set logscale x
	plot for [n=2:5] data('in_server') using 1:n with linespoints linewidth 2 \
		title word('hand-written PL/pgSQL validate authenticate', n - 1)
	unset logscale
}

set xlabel ''
set ylabel 'requests a second'
unset key
array titles[3] = ['8 clients, 8 connections: validations', '8 clients: creating sessions', "8 clients: validate and read the user's rows"]
do for [n=1:3] {
	name = word('clients creates round_trips', n)
	if (has(name)) {
		set output picture(name)
		set title titles[n]
		plot data(name) using 0:2:xtic(1) with boxes linecolor 1, \
			'' using 0:2:3:4 with yerrorbars pointtype 0 pointsize 0 linecolor 'black'
	}
}

if (has('wal')) {
	set output picture('wal')
	set title 'WAL bytes a validated request'
	set ylabel 'bytes'
	plot data('wal') using 0:2:xtic(1) with boxes linecolor 1, \
		'' using 0:2:(sprintf('%.0f', $2)) with labels offset 0,0.7
}
if (has('size')) {
	set key outside
	set output picture('size')
	set title 'Table and indexes over a day of sessions with a 15-minute life'
	set xlabel 'hour'
	set ylabel 'MB'
	plot for [n=2:4] data('size') using ($1/60):n with linespoints linewidth 2 \
		title word('narvik hand-written connect-pg-simple', n - 1)
}
