import sys,time
from tests.simulation.world import run
a,b=int(sys.argv[1]),int(sys.argv[2])
t=time.process_time(); bad=0; ev=rq=0
for s in range(a,b):
    t1=time.process_time()
    try: r=run(s)
    except Exception as e:
        import traceback; traceback.print_exc(); print('seed',s); break
    if r.violations: bad+=1; print(s,r.violations[:4])
    ev+=r.counts['events']; rq+=r.counts['requests']
    if '-v' in sys.argv: print(s,r.counts, round(1000*(time.process_time()-t1)))
    if '-t' in sys.argv: print('\n'.join(r.trace))
n=b-a; print('bad',bad,'ms/seed',(time.process_time()-t)/n*1000,'events',ev/n,'req',rq/n)
