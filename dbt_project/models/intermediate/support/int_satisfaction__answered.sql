-- The ratings of tickets that belong to a customer, by day.
with

ratings as (

    select * from {{ ref('int_tickets__rated') }}

),

tickets as (

    select * from {{ ref('int_tickets__attributed') }}

),

final as (

    select
        tickets.customer_id,
        tickets.ticket_id,
        cast(ratings.answered_at as date) as answered_date,
        ratings.satisfaction
    from ratings
    inner join tickets
        on
            ratings.source_name = tickets.source_name
            and ratings.ticket_id = tickets.source_ticket_id

)

select * from final
