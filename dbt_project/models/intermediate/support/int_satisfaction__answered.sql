-- Every rating of a ticket on one scale from 0 (bad) to 1 (good), from the ticket or from a survey.
with

field_changes as (

    select * from {{ ref('stg_zendesk__ticket_field_changes') }}

),

csat_answers as (

    select * from {{ ref('stg_surveys__csat_answers') }}

),

tickets as (

    select * from {{ ref('int_tickets__attributed') }}

),

ratings as (

    select
        ticket_id,
        changed_at as answered_at,
        case when field_value = 'good' then 1.0 else 0.0 end as satisfaction
    from field_changes
    where
        field_name = 'satisfaction_score'
        and field_value in ('good', 'bad')

    union all

    select
        ticket_id,
        answered_at,
        {{ ratio('score - scale_min', 'scale_max - scale_min') }} as satisfaction
    from csat_answers

),

final as (

    select
        tickets.customer_id,
        ratings.ticket_id,
        cast(ratings.answered_at as date) as answered_date,
        ratings.satisfaction
    from ratings
    inner join tickets
        on ratings.ticket_id = tickets.ticket_id

)

select * from final
