with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('community', 'votes', ['id', 'item_id', 'user_id', 'item_type', 'value', 'created_at'], optional=true) }}

),

renamed as (

    select
        ---------- ids
        id as vote_id,
        item_id,
        user_id as community_user_id,
        ---------- attributes
        item_type,
        {{ whole_number('value') }} as vote_value,
        ---------- timestamps
        {{ utc_timestamp('created_at') }} as created_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where created_at <= {{ as_of_at() }}

)

select * from known
