{#
    A measure over the answers to one survey: the mean of each contact's latest answer, and how old the latest of them
    is. An answer counts until the same contact gives another.
#}
{% macro survey_measure(survey) -%}
    {%- set changes -%}
        (
            select
                customer_id,
                answered_date as on_date,
                1 as answers,
                cast(answer as decimal(18, 6)) as answer
            from (
                select
                    answers.*,
                    row_number() over (
                        partition by coalesce(contact_id, answer_id), answered_date
                        order by answered_at desc, answer_id desc, answer
                    ) as recency
                from {{ ref('int_survey_answers__attributed') }} as answers
                where survey = '{{ survey }}'
            ) as latest
            where recency = 1

            union all

            select
                customer_id,
                next_answered_date as on_date,
                -1 as answers,
                cast(-1 * answer as decimal(18, 6)) as answer
            from (
                select
                    latest.*,
                    lead(answered_date) over (
                        partition by coalesce(contact_id, answer_id)
                        order by answered_date
                    ) as next_answered_date
                from (
                    select
                        answers.*,
                        row_number() over (
                            partition by coalesce(contact_id, answer_id), answered_date
                            order by answered_at desc, answer_id desc, answer
                        ) as recency
                    from {{ ref('int_survey_answers__attributed') }} as answers
                    where survey = '{{ survey }}'
                ) as latest
                where recency = 1
            ) as followed
            where next_answered_date is not null
        )
    {%- endset -%}
    {%- set answered -%}
        (select distinct customer_id, answered_date as on_date from {{ ref('int_survey_answers__attributed') }} where survey = '{{ survey }}')
    {%- endset -%}
with

customer_days as (

    select * from {{ ref('int_customer_days') }}

),

totals as (

    select * from {{ running_totals(changes, ['answers', 'answer']) }} as running

),

last_answered as (

    select * from {{ last_day_of(answered) }} as last_days

),

final as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        cast({{ ratio('totals.answer', 'totals.answers') }} as double precision) as raw_value,
        {{ days_between('last_answered.last_date', 'customer_days.as_of_date') }} as age_days
    from customer_days
    inner join totals
        on
            customer_days.customer_id = totals.customer_id
            and customer_days.as_of_date = totals.as_of_date
    inner join last_answered
        on
            customer_days.customer_id = last_answered.customer_id
            and customer_days.as_of_date = last_answered.as_of_date
    where totals.answers > 0

)

select * from final
{%- endmacro %}
