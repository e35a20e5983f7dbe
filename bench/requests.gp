# Bars of whole requests a second, for gnuplot.  Its variables: "data", a file with a
# label, the figure, and 1 for narvik; "shade", light or dark.
dark = shade eq 'dark'
ink = dark ? '#e6edf3' : '#1f2328'
narvik = dark ? 0x4493f8 : 0x0969da
other = dark ? 0x6e7681 : 0xafb8c1

set terminal svg size 720,300 font 'sans-serif,14' background rgb (dark ? '#0d1117' : '#ffffff')
set title 'Pages behind a log-in, a second: Express, one Node process, two cores' textcolor rgb ink
set lmargin 26
set rmargin 9
set bmargin 1
set border 0
unset key
unset xtics
set ytics nomirror scale 0 textcolor rgb ink
set xrange [0:*]
set yrange [-0.6:*]
set style fill solid 1 noborder
plot data using ($2 / 2):0:($2 / 2):(0.36):($3 == 1 ? narvik : other):ytic(1) with boxxyerror linecolor rgb variable, \
	'' using 2:0:(sprintf(' %.0f', $2)) with labels left textcolor rgb ink
