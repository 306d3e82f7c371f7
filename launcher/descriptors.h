/* Which files a process has open. */
#ifndef COSMOS_DESCRIPTORS_H
#define COSMOS_DESCRIPTORS_H

/*
 * Numbers of the open descriptors, in no order, at most `most` of them. Answers how many there are, which may be more;
 * -1 where /proc cannot be read.
 */
int list_descriptors(int *numbers, int most);

#endif
