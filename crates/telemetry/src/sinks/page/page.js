(()=>{
const d=document,$=i=>d.getElementById(i);
let rows=[],used=[],seen=Date.now(),next=d.body.dataset.next;
const set=(i,t)=>{const e=$(i);if(e)e.textContent=t};
const si=n=>{let i=0;while(n>=999.5&&i<6){n/=1e3;i++}return(i?n.toPrecision(3):Math.round(n))+' kMGTPE'[i].trim()},unit=(n,u)=>si(n).replace(/[kMGTPE]?$/,p=>' '+p+u);
const us=n=>n<1e3?n+' µs':n<1e6?(n/1e3).toPrecision(3)+' ms':(n/1e6).toPrecision(3)+' s';
const pct=p=>p==null?'–':Math.round(p/10)+'%',mib=n=>(n/1048576).toFixed(1),two=n=>String(n).padStart(2,'0');
const up=s=>(s>=86400?Math.floor(s/86400)+'d ':'')+two(Math.floor(s/3600)%24)+':'+two(Math.floor(s/60)%60)+':'+two(Math.floor(s)%60);
const nice=n=>{let p=1;while(p<n)p*=10;return p/5>=n?p/5:p/2>=n?p/2:p};
// lines: one array of values for each line, beside rows; lo and hi: bottom and top.
function plot(id,lines,lo,hi,text){
const e=$(id);if(!e||rows.length<2)return;
const end=rows[rows.length-1][0],N=60*Math.max(1,Math.ceil((end-rows[0][0])/6e7-.05)),x=r=>(300-(end-r[0])/1e6*300/N).toFixed(1);
let out='<path class="grid" d="M0 25H300M0 50H300M0 75H300"/>';
rows.forEach(r=>{if(r[1]===false)out+=`<rect x="${x(r)-1}" width="${330/N}" height="100"/>`});
lines.forEach((l,k)=>{let p='';l.forEach((v,i)=>{if(v!=null)p+=(p?'L':'M')+x(rows[i])+' '+(98-96*Math.min(1,(v-lo)/((hi-lo)||1))).toFixed(1)});
if(!p)return;
if(lines.length<3)out+=`<path class="area c${k%4}" d="${p}V100H${p.slice(1,p.indexOf(' '))}Z"/>`;
out+=`<path class="line c${k%4}" d="${p}"/>`});
e.querySelector('svg').innerHTML=out;
const s=e.querySelectorAll('small');s[0].textContent=text(hi);s[1].textContent=lo?text(lo):'';s[2].textContent=N/60+' min ago'}
function draw(){
if(d.hidden)return;
plot('cpu',[0,1,2,3].map(k=>rows.map(r=>r[2]&&r[2][k])),0,1000,pct);
const rx=rows.map(r=>8*r[3]),tx=rows.map(r=>8*r[4]);
plot('net',[rx,tx],0,nice(Math.max(1e3,...rx,...tx)),n=>unit(n,'bit/s'));
const t=rows.map(r=>r[5]),k=t.filter(v=>v!=null);
plot('heat',[t],Math.floor((Math.min(...k)-5e3)/1e4)*1e4,Math.ceil((Math.max(...k)+5e3)/1e4)*1e4,n=>n/1e3+' °C');
const o=[...Array(12).keys()].map(k=>used.includes(k)?rows.map(r=>r[6]&&r[6][k]):[]);
plot('ops',o,0,nice(Math.max(10,...o.flat().filter(v=>v))),n=>si(n)+'/s')}
function sample(s){
const last=rows[rows.length-1];if(last&&last[0]>=s.at_us){if(last[0]>s.at_us)location.reload();return}
const n=s.network,m=s.memory;seen=Date.now();
rows.push([s.at_us,s.valid,s.cores_busy_permille,n.rx_bytes_per_second,n.tx_bytes_per_second,s.temperature_millicelsius,null]);
rows=rows.filter(r=>r[0]>s.at_us-3e8);
set('up',up(s.at_us/1e6));(s.cores_busy_permille||[]).forEach((p,k)=>set('cpu'+k,pct(p)));
set('rx',unit(8*n.rx_bytes_per_second,'bit/s'));set('tx',unit(8*n.tx_bytes_per_second,'bit/s'));
set('total',unit(n.rx_bytes,'B in, ')+unit(n.tx_bytes,'B out'));
set('mem',mib(m.total_bytes-m.available_bytes)+' of '+mib(m.total_bytes)+' MB used');
if(s.temperature_millicelsius!=null)set('temp',(s.temperature_millicelsius/1e3).toFixed(1)+' °C');
if(s.clocks_hz.arm)set('arm',unit(s.clocks_hz.arm,'Hz'));
if(s.unix_us)set('time',new Date(s.unix_us/1e3).toISOString().slice(0,19).replace('T',' ')+' UTC');
const q=$('faults');q.textContent=s.faults;q.hidden=!s.faults;
const h=$('health'),bad=s.valid===false;h.className='chip '+(bad?'bad':s.valid?'ok':'dim');
if(bad)h.textContent='sick: '+s.invalid_reasons.join(', ').replace(/_/g,' ');else if(s.valid)h.textContent='hardware is well';else h.textContent=h.dataset.unknown}
function work(list){
const ops=[];list.forEach(w=>{if(w.operations_per_second!=null)ops[w.slot]=w.operations_per_second});
if(rows.length)rows[rows.length-1][6]=ops;used=list.map(w=>w.slot);
const body=$('workloads');body.textContent='';
list.forEach(w=>{const tr=d.createElement('tr'),o=w.operation_duration,add=(t,c)=>{const e=d.createElement('td');e.textContent=t;if(c)e.className=c;tr.append(e)};
add(w.core);add(w.id);add(w.spec);add(w.state+(w.reason?': '+w.reason:'')+(w.valid===false?' (while sick)':''),w.state=='failed'||w.state=='stalled'?'bad':'');
[pct(w.busy_permille),si(w.operations),si(w.operations_per_second||0),si(w.bytes_per_second||0),w.errors,o?us(o.p50_us):'',o?us(o.p99_us):''].forEach(t=>add(t,'n'));
body.append(tr);set('ops'+w.slot,si(w.operations_per_second||0)+'/s')});
draw()}
function line(l){
const pre=$('log'),s=d.createElement('span'),low=pre.scrollHeight-pre.scrollTop-pre.clientHeight<40;
if(l.level=='error'||l.level=='warn')s.className='bad';
s.textContent=(l.at_us/1e6).toFixed(6).padStart(12)+' '+l.level.padEnd(5)+' '+(l.core?'core '+l.core+': ':'')+l.text+'\n';
pre.append(s);while(pre.childNodes.length>200)pre.firstChild.remove();if(low)pre.scrollTop=pre.scrollHeight}
const get=p=>fetch('/api/v1/'+p).then(r=>{if(!r.ok)throw r.status;return r.json()}),say=t=>set('live',t);
// Live events; when the node has no place for one more listener, a look now and then.
function listen(){
const e=new EventSource('/api/v1/events?after='+next),on=(n,f)=>e.addEventListener(n,m=>f(JSON.parse(m.data)));
on('sample',s=>{say('live');sample(s)});on('workloads',work);e.addEventListener('log',m=>{next=m.lastEventId;line(JSON.parse(m.data))});
e.onopen=()=>say('live');
e.onerror=()=>{if(e.readyState<2)return say('no connection');
e.close();get('sample').then(s=>{sample(s);return get('workloads')}).then(w=>{work(w);say('every 5 s')}).catch(()=>say('no connection')).finally(()=>setTimeout(listen,5e3))}}
// A node that was switched off says no good-bye.
setInterval(()=>{if(Date.now()-seen>6e3)say('no connection')},2e3);
d.body.className='js';d.addEventListener('visibilitychange',draw);
const pre=$('log');pre.scrollTop=pre.scrollHeight;
get('history').then(h=>{rows=h.rows;draw()}).catch(()=>0).finally(listen);
})();
