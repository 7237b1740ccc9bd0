{#
    What holds on each scored day of a customer, as a running total of what came and went: a fact that counts for 28 days
    comes on its day and goes 28 days later. So a window costs one pass over the facts, however long it is, where a
    join of each day with the facts of its window costs as many rows as the window has days.

    changes  subselect of customer_id, on_date and the named columns: what is added (or, negative, taken away) that day
    columns  the columns to sum
    latest   date columns of which the last so far is carried on
#}
{% macro running_totals(changes, columns, latest=()) -%}
    {%- set carried = columns + latest | list -%}
    (
        select
            totals.customer_id,
            totals.on_date as as_of_date,
            {%- for column in carried %}
            totals.{{ column }}{{ ',' if not loop.last }}
            {%- endfor %}
        from (
            select
                summed.customer_id,
                summed.on_date,
                {%- for column in carried %}
                {{ 'max' if column in latest else 'sum' }}(summed.{{ column }}) over (
                    partition by summed.customer_id
                    order by summed.on_date
                    rows between unbounded preceding and current row
                ) as {{ column }},
                {%- endfor %}
                summed.is_scored
            from (
                select
                    changes.customer_id,
                    changes.on_date,
                    {%- for column in carried %}
                    {{ 'max' if column in latest else 'sum' }}(changes.{{ column }}) as {{ column }},
                    {%- endfor %}
                    max(changes.is_scored) as is_scored
                from (
                    select
                        customer_id,
                        on_date,
                        {%- for column in carried %}
                        {{ column }},
                        {%- endfor %}
                        0 as is_scored
                    from {{ changes }} as changed

                    union all

                    select
                        customer_id,
                        as_of_date as on_date,
                        {%- for column in carried %}
                        {{ 'cast(null as date)' if column in latest else 0 }} as {{ column }},
                        {%- endfor %}
                        1 as is_scored
                    from {{ ref('int_customer_days') }}
                ) as changes
                group by
                    changes.customer_id,
                    changes.on_date
            ) as summed
        ) as totals
        where totals.is_scored = 1
    )
{%- endmacro %}

{#
    The changes of sums over a window of days.

    facts    relation or subselect with customer_id and the date column
    date     the date column: the day on which the fact was known
    sums     {column: expression over the facts}
    days     length of the window, the day itself included
#}
{% macro summed_in_days(facts, date, sums, days) -%}
    (
        {%- for sign, shift in [('', 0), ('-1 * ', days)] %}
        select
            customer_id,
            {{ date if shift == 0 else days_before(date, -1 * shift) }} as on_date,
            {%- for column, expression in sums.items() %}
            {{ sign }}{{ expression }} as {{ column }}{{ ',' if not loop.last }}
            {%- endfor %}
        from {{ facts }} as facts
        where {{ date }} > {{ days_before(first_scored_day(), days) }}
        {%- if not loop.last %}

        union all
        {% endif %}
        {%- endfor %}
    )
{%- endmacro %}

{#
    The changes of a count of different things (contacts, features, days) seen in a window of days, as column `counted`:
    one comes when it was not seen for that long, and goes when it is not seen again in time.

    facts      relation with customer_id, the thing and the date; one thing may be seen several times a day
    thing      expression over the facts: whose different values count
    date       the date on which it was seen, an expression too
    days       length of the window, the day itself included
    condition  which facts count
#}
{% macro distinct_in_days(facts, thing, date, days, condition='1 = 1') -%}
    (
        {%- for sign, shift, edge in [(1, 0, 'previous_date'), (-1, days, 'next_date')] %}
        select
            customer_id,
            {{ 'on_date' if shift == 0 else days_before('on_date', -1 * shift) }} as on_date,
            {{ sign }} as counted
        from (
            select
                seen.customer_id,
                seen.on_date,
                {{ 'lag' if sign == 1 else 'lead' }}(seen.on_date) over (
                    partition by seen.customer_id, seen.thing
                    order by seen.on_date
                ) as {{ edge }}
            from (
                select distinct
                    customer_id,
                    {{ thing }} as thing,
                    {{ date }} as on_date
                from {{ facts }}
                where
                    customer_id is not null
                    and {{ thing }} is not null
                    and {{ condition }}
                    and {{ date }} > {{ days_before(first_scored_day(), days) }}
            ) as seen
        ) as neighbours
        where
            {{ edge }} is null
            or {{ days_between('previous_date', 'on_date') if sign == 1 else days_between('on_date', 'next_date') }} >= {{ days }}
        {%- if not loop.last %}

        union all
        {% endif %}
        {%- endfor %}
    )
{%- endmacro %}

{# What was at work in a window of days: different values of a column of int_usage__daily. #}
{% macro used_in_days(thing, days, condition='1 = 1') -%}
    {{ return(distinct_in_days(ref('int_usage__daily'), thing, 'known_date', days, condition)) }}
{%- endmacro %}

{#
    The last day on which something happened, on each scored day: null where it never did.

    happened   subselect of customer_id and on_date
#}
{% macro last_day_of(happened) -%}
    (
        select
            last_days.customer_id,
            last_days.on_date as as_of_date,
            last_days.last_date
        from (
            select
                moments.customer_id,
                moments.on_date,
                moments.is_scored,
                max(moments.happened_on) over (
                    partition by moments.customer_id
                    order by moments.on_date
                ) as last_date
            from (
                select
                    customer_id,
                    on_date,
                    on_date as happened_on,
                    0 as is_scored
                from {{ happened }} as happened

                union all

                select
                    customer_id,
                    as_of_date as on_date,
                    cast(null as date) as happened_on,
                    1 as is_scored
                from {{ ref('int_customer_days') }}
            ) as moments
        ) as last_days
        where last_days.is_scored = 1
    )
{%- endmacro %}
