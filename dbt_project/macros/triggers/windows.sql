{#
    How many different things were seen in a window of days, as changes to add up: one comes on the day on which it is seen
    after it was not for that long, and goes when it has not been seen again in time. Costs one pass over the facts,
    however long the window.

    facts    CTE or relation; one thing may be seen several times a day
    key      column that says whose things they are
    thing    column of the thing
    day      column of the day
    days     length of the window, the day itself included
    counted  name of the column of changes, 1 or -1
#}
{% macro seen_in_days(facts, key, thing, day, days, counted) -%}
    (
        {%- for sign, edge in [(1, 'previous_date'), (-1, 'next_date')] %}
        select
            {{ key }},
            {{ 'seen_date' if sign == 1 else days_before('seen_date', -1 * days) }} as on_date,
            {{ sign }} as {{ counted }}
        from (
            select
                seen.{{ key }},
                seen.seen_date,
                {{ 'lag' if sign == 1 else 'lead' }}(seen.seen_date) over (
                    partition by seen.{{ key }}, seen.thing
                    order by seen.seen_date
                ) as {{ edge }}
            from (
                select distinct
                    {{ key }},
                    {{ thing }} as thing,
                    {{ day }} as seen_date
                from {{ facts }} as facts
            ) as seen
        ) as neighbours
        where
            {{ edge }} is null
            or {{ days_between('previous_date', 'seen_date') if sign == 1 else days_between('seen_date', 'next_date') }} >= {{ days }}
        {%- if not loop.last %}

        union all
        {% endif %}
        {%- endfor %}
    )
{%- endmacro %}

{#
    The first day of a renewal window: it scales with the term, and is at most renewal_window_days long. Null for terms
    under renewal_min_term_days, which have none. The same rule as in marts.customer_journey.
#}
{% macro renewal_window_date(renewal_date, term_months) -%}
    {%- set term_days = days_between(dbt.dateadd('month', '-1 * ' ~ term_months, renewal_date), renewal_date) -%}
    case
        when {{ term_days }} >= {{ threshold('renewal_min_term_days') }}
            then {{ days_before(renewal_date, 'cast(floor(least(' ~ threshold('renewal_window_days') ~ ', ' ~ threshold('renewal_window_share') ~ ' * ' ~ term_days ~ ')) as integer)') }}
    end
{%- endmacro %}

{#
    Days on which somebody began to look at a kind of page: that of the nth view of a time of interest, which is over
    after page_interest_days without one.

    kind     page_kind of seeds/rules/web_pages.csv
    views    threshold with the number of views that it takes
#}
{% macro interested_days(page_views, kind, views) -%}
    (
        select
            counted.customer_id,
            counted.contact_id,
            cast(counted.occurred_at as date) as opened_date
        from (
            select
                numbered.*,
                row_number() over (
                    partition by numbered.contact_id, numbered.interest_number
                    order by numbered.occurred_at, numbered.page_view_id
                ) as view_number
            from (
                select
                    marked.*,
                    sum(marked.begins_interest) over (
                        partition by marked.contact_id
                        order by marked.occurred_at, marked.page_view_id
                        rows between unbounded preceding and current row
                    ) as interest_number
                from (
                    select
                        views.*,
                        case
                            when {{ days_between('lag(views.occurred_at) over (partition by views.contact_id order by views.occurred_at, views.page_view_id)', 'views.occurred_at') }}
                                < {{ threshold('page_interest_days') }}
                                then 0
                            else 1
                        end as begins_interest
                    from {{ page_views }} as views
                    where
                        views.page_kind = '{{ kind }}'
                        and views.contact_id is not null
                ) as marked
            ) as numbered
        ) as counted
        where counted.view_number = {{ threshold(views) }}
    )
{%- endmacro %}
